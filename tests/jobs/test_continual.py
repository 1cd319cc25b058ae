"""A whole continual run: its records, and that a killed one ends as an uninterrupted one does."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import composed, go
from tests.jobs.conftest import TASKS, Killed, configured, kill_at_call, same_continual
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.continual import loop
from tlcl.continual.loop import TaskLoop
from tlcl.continual.methods.base import Method
from tlcl.continual.module import ContinualModule
from tlcl.continual.temperature import _but_one_a_class
from tlcl.data.sources.digits import load_digits
from tlcl.errors import TrainingError, UserError
from tlcl.jobs.continual import run
from tlcl.jobs.finetune import run as finetune
from tlcl.jobs.finished import load_run
from tlcl.jobs.outcome import duplicates
from tlcl.models.inference import predict
from tlcl.statistics.conformal import prediction_sets, score_limit
from tlcl.sweeps import compare
from tlcl.tracking.accuracy_matrix import read_matrix
from tlcl.tracking.calibration import read_calibration
from tlcl.tracking.records import read_lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(configured(tmp_path_factory.mktemp("er"), "er", "data.train_size=200"))


def test_every_record_is_there(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml", "environment.json", "summary.json", "labels.json", "metrics.jsonl", "timings.jsonl",
        "tasks.jsonl", "accuracy_matrix.json", "accuracy_matrix.csv", "test_predictions.npz", "model.safetensors",
        "report.html", "checkpoints/between_tasks.ckpt", "plots/cumulative.png", "plots/matrix.png",
        "plots/tasks.png", "plots/training.png", "plots/confusion.png", "plots/mistakes.png",
    }  # fmt: skip
    assert [path.name for path in (finished / "checkpoints").iterdir()] == ["between_tasks.ckpt"]
    lines = read_lines(finished / "metrics.jsonl")
    assert [(line["task"], line["epoch"]) for line in lines] == [(t, e) for t in range(3) for e in range(2)]


def test_the_figures_follow_from_the_predictions(finished: Path) -> None:
    """The last row of the matrix, and the summary, recomputed from the stored test probabilities."""
    measured = read_matrix(finished)
    summary = json.loads((finished / "summary.json").read_text())
    assert measured is not None
    stored = np.load(finished / "test_predictions.npz")
    right = stored["probabilities"].argmax(1) == stored["labels"]
    assert np.array_equal(stored["labels"], load_digits().test.labels.numpy())
    for column, classes in enumerate(measured.tasks):
        part = np.isin(stored["labels"], [int(name) for name in classes])
        assert measured.sizes[column] == part.sum()
        assert measured.matrix[-1, column] == pytest.approx(right[part].mean())
    assert summary["final_accuracy"] == pytest.approx(right.mean())
    assert summary["test_acc"] == pytest.approx(right.mean())
    sure = np.load(finished / "test_predictions.npz")["probabilities"].max(1)
    assert summary["mean_confidence"] == pytest.approx(sure.mean())
    assert summary["duplicates_train_test"] == duplicates(load_digits())
    # A class that has not come is never the answer, so nothing is measured before it comes.
    assert np.isnan(measured.matrix[np.triu_indices(3, 1)]).all()
    rows = (finished / "accuracy_matrix.csv").read_text().splitlines()
    assert len(rows) == 4
    assert float(rows[-1].split(",")[1]) == pytest.approx(measured.matrix[-1, 0], abs=1e-6)


def test_the_accuracy_with_the_task_given(finished: Path) -> None:
    """From the stored probabilities: what is right among the classes of the image's own task."""
    summary = json.loads((finished / "summary.json").read_text())
    stored, right = np.load(finished / "test_predictions.npz"), 0
    for probabilities, label in zip(stored["probabilities"], stored["labels"], strict=True):
        (task,) = [task for task in summary["tasks"] if str(label) in task]
        members = [int(name) for name in task]
        right += members[int(np.argmax(probabilities[members]))] == label
    assert summary["task_given_accuracy"] == pytest.approx(right / len(stored["labels"]))
    assert summary["task_given_accuracy"] > summary["final_accuracy"]


@pytest.mark.usefixtures("_undrawn")
def test_naive_forgets_and_replay_remembers(finished: Path, tmp_path: Path) -> None:
    naive = go(configured(tmp_path, "naive", "data.train_size=200"))
    without, with_replay = (read_matrix(path) for path in (naive, finished))
    assert without is not None
    assert with_replay is not None
    assert without.matrix[-1, 0] < 0.1
    assert with_replay.matrix[-1, 0] > without.matrix[-1, 0] + 0.2


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take half the time of so short a run."""
    monkeypatch.setattr("tlcl.jobs.continual.save_matrix_plots", lambda run_dir: [])
    monkeypatch.setattr("tlcl.jobs.job.render", lambda run_dir: run_dir)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("held_out", ["data.val_size=0", "data.val_size=9"])
def test_a_closed_form_of_few_images_has_a_temperature(tmp_path: Path, held_out: str) -> None:
    path = go(configured(tmp_path, "ncm", "data.train_size=60", held_out))
    summary = json.loads((path / "summary.json").read_text())
    found = summary["calibration"]
    assert 20 <= found["images"] <= 30
    assert found["reason"] is None
    assert abs(found["test_confidence_after"] - summary["test_acc"]) < 0.15
    assert found["test_nll_after"] < found["test_nll_before"]


def test_no_class_is_held_out_whole() -> None:
    labels, order = torch.tensor([0, 0, 1, 2, 2, 2, 0]), torch.tensor([2, 0, 1, 6, 3, 5, 4])
    assert _but_one_a_class(order, labels, 3).tolist() == [0, 1, 3]
    assert _but_one_a_class(order, labels, 99).tolist() == [0, 1, 3, 5]


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("method", ["er", "icarl", "ncm", "ranpac"])
@pytest.mark.parametrize("held_out", ["data.val_size=100", "data.val_size=0"])
def test_answers_are_as_sure_as_they_are_right(tmp_path: Path, method: str, held_out: str) -> None:
    """A network, distances and a regression: one temperature of held-out images, in all that answers afterwards."""
    path = go(configured(tmp_path, method, "data.train_size=400", held_out))
    summary = json.loads((path / "summary.json").read_text())
    found = summary["calibration"]
    stored = np.load(path / "test_predictions.npz")
    assert found["test_confidence_after"] == pytest.approx(stored["probabilities"].max(1).mean(), abs=1e-6)
    if method in ("er", "icarl") and held_out == "data.val_size=0":  # nothing is held out from their training
        assert (found["temperature"], found["images"]) == (1.0, 0)
        assert "too few" in found["reason"]
    else:
        drawn = 0.5 / found["images"] ** 0.5  # of the share of right ones among so few held-out images
        assert abs(found["test_confidence_after"] - summary["test_acc"]) < max(0.08, 1.2 * drawn)
        assert found["test_nll_after"] < found["test_nll_before"]
        assert summary["test_loss"] == pytest.approx(found["test_nll_after"], rel=1e-4)
    net, _, config = load_run(path)
    given = predict(net, load_digits().test.images, batch_size=100, precision=config.trainer.precision)
    again = read_calibration(path).calibrated(given.numpy())
    assert np.allclose(again, stored["probabilities"], atol=2e-2)
    assert (again.argmax(1) == stored["probabilities"].argmax(1)).mean() > 0.99
    images = found["images"]
    assert len(read_calibration(path).scores) == (images if images >= 20 else 0)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("method", ["ncm", "layers"])
def test_no_order_of_the_files_has_a_part_in_how_sure_answers_are(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, digits = [], load_digits()
    for place in range(2):
        order = torch.randperm(len(digits.pool), generator=torch.Generator().manual_seed(place))
        pool = replace(digits.pool, images=digits.pool.images[order], labels=digits.pool.labels[order])
        source = replace(digits, pool=pool)
        monkeypatch.setattr("tlcl.jobs.continual.load_source", lambda *_, source=source: source)
        path = go(configured(tmp_path / str(place), method, "data.val_size=0", "data.train_size=null"))
        found.append(json.loads((path / "summary.json").read_text())["calibration"])
    assert found[0]["images"] > 100
    assert found[0]["temperature"] == pytest.approx(found[1]["temperature"], rel=1e-4)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("method", ["naive", "ncm"])
def test_coverage_holds_where_the_task_is_not_known(tmp_path: Path, method: str) -> None:
    """New images come without their task, so what a task-incremental run promises of them is of all classes."""
    keys = ["continual=task_incremental", "data.train_size=400", "data.val_size=200"]
    path = go(configured(tmp_path, method, *keys))
    net, _, config = load_run(path)
    test, kept = load_digits().test, read_calibration(path)
    given = predict(net, test.images, batch_size=100, precision=config.trainer.precision).numpy()
    sets = prediction_sets(given, score_limit(kept.scores, 0.8))
    covered = sets[np.arange(len(sets)), test.labels.numpy()].mean()
    assert covered == pytest.approx(0.8, abs=0.1)
    probabilities = kept.calibrated(given)
    right = (probabilities.argmax(1) == test.labels.numpy()).mean()
    assert probabilities.max(1).mean() == pytest.approx(right, abs=0.12)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize(("method", "warned"), [("ncm", True), ("naive", False)])
def test_a_closed_form_on_random_features_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, warned: bool
) -> None:
    go(configured(tmp_path, method, "model.weights=none", "data.train_size=60"))
    said = [line for line in caplog.messages if "features that have learned nothing" in line]
    assert bool(said) == warned
    assert all(f"method={method}" in line for line in said)


@pytest.mark.parametrize("group", ["paper", "paper_500"])
def test_the_published_settings_are_configs_of_their_own(tmp_path: Path, group: str) -> None:
    """Each method has its own rate, in whichever experiment."""
    asked = composed(tmp_path, "+experiment=continual_paper", f"compare={group}")
    elsewhere = parse_config(composed(tmp_path, "+experiment=continual_compare", f"compare={group}"))
    config = parse_config(asked)
    for one in compare.children(elsewhere, tmp_path):
        assert one.config.optim.momentum == 0
        assert one.config.optim.lr == {"lwf": 0.01, "icarl": 0.01, "naive": 0.1, "joint": 0.1, "er": 0.1}.get(
            one.config.method.name, 0.03  # type: ignore[union-attr]
        )
    assert config.data.source == "cifar10"
    assert config.trainer.epochs == 50
    runs = {run.config.method.name: run.config for run in compare.children(config, tmp_path)}  # type: ignore[union-attr]
    rates = {name: run.optim.lr for name, run in runs.items()}
    assert rates == {
        "naive": 0.1, "joint": 0.1, "online_ewc": 0.03, "si": 0.03, "lwf": 0.01, "agem": 0.03, "er": 0.1,
        "er_ace": 0.03, "icarl": 0.01, "der": 0.03, "der_pp": 0.03, "ranpac": 0.03,
    }  # fmt: skip
    assert (runs["lwf"].optim.weight_decay, runs["er"].optim.weight_decay) == (0.0005, 0.0)
    buffer = 500 if group == "paper_500" else 200
    assert {vars(run.method).get("buffer_size", buffer) for run in runs.values()} == {buffer}
    assert vars(runs["der_pp"].method)["alpha"] == (0.02 if group == "paper_500" else 0.01)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("naive optim.speed=1", r"optim\.speed"), ("naive optim.lr=[1", "cannot be read"),
     ("naive optim.lr=fast", r"optim\.lr"), ("naive lr=1", r"'lr=1' in 'naive lr=1': naive has no keys, and optim"),
     ("er trainer.epochs=2", r"'trainer.epochs=2' in .*: er has buffer_size, replay_batch, and optim\.KEY")],
)
def test_a_mistake_in_a_methods_own_optimizer_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    config = parse_config(composed(tmp_path, *TASKS, "~method", "compare=default", f"compare.methods=['{text}']"))
    with pytest.raises(UserError, match=sentence):
        compare.children(config, tmp_path)


@pytest.mark.usefixtures("_undrawn")
def test_answers_that_are_no_numbers_are_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tlcl.continual.loop.TaskLoop.scores", lambda self, inputs, which: torch.full((len(which), 10), torch.nan)
    )
    with pytest.raises(TrainingError, match="not a number after the last task; try a lower optim"):
        go(configured(tmp_path, "ncm", "data.train_size=60"))


METHODS = GROUPS["method"]
FAST_METHODS = ("naive", "der_pp", "slda")


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize(
    "method", [name if name in FAST_METHODS else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_a_killed_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Killed twice, at random moments of the training, of a task's end or of the measuring.

    BatchNorm has a state too: hence ResNet-18 for what always runs, and for LwF, which copies the network.
    """
    size = ["data.train_size=60", "data.batch_size=8", "optim.lr=0.01"]  # at 0.02 so few images sometimes diverge
    if method not in (*FAST_METHODS, "lwf"):
        size.append("model=small_cnn")
    whole = go(configured(tmp_path / "whole", method, *size))
    config = configured(tmp_path / "killed", method, *size)
    chance = random.Random(method)
    closed = METHODS[method].thing.closed_form
    # joint trains once; every other method has three tasks of two epochs and about two batches
    steps = 6 if METHODS[method].thing.trains_on == "all" else 11
    moments: list[tuple[type, str, int]] = [
        (METHODS[method].thing, "observe_features", chance.randrange(1, 3))
        if closed
        else (ContinualModule, "training_step", chance.randrange(1, steps)),
        chance.choice([(TaskLoop, "accuracies", chance.randrange(1, 3)), (METHODS[method].thing, "end_task", 0)]),
    ]
    for owner, name, number in moments:
        kill_at_call(monkeypatch, owner, name, number)
        with pytest.raises(Killed):
            go(config)
    go(config)
    same_continual(whole, tmp_path / "killed" / "run")


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("saved", [True, False], ids=["after", "before"])
def test_a_kill_around_the_checkpoint_between_tasks_keeps_a_line_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """tasks.jsonl has each task once, wherever the process dies between its files."""
    original = loop.save_between_tasks

    def save(folder: Path, next_task: int, *rest: object) -> None:
        if saved or next_task != 2:
            original(folder, next_task, *rest)  # type: ignore[arg-type]
        if next_task == 2:
            raise Killed

    monkeypatch.setattr(loop, "save_between_tasks", save)
    config = configured(tmp_path, "ncm", "data.train_size=60")
    with pytest.raises(Killed):
        go(config)
    monkeypatch.setattr(loop, "save_between_tasks", original)
    path = go(config)
    assert [line["task"] for line in read_lines(path / "tasks.jsonl")] == [1, 2, 3]


def test_damaged_checkpoints_fall_back(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(tmp_path, "er", "data.train_size=200")
    kill_at_call(monkeypatch, TaskLoop, "accuracies", 5)  # the third task is trained, and not yet measured
    with pytest.raises(Killed):
        go(config)
    for name in ("last.ckpt", "between_tasks.ckpt"):
        path = tmp_path / "run" / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-2000])
    go(config)
    assert "previous.ckpt" in caplog.text
    same_continual(finished, tmp_path / "run")


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("method", ["icarl", "ncm", "slda", "ranpac", "er"])
def test_the_kept_model_gives_the_recorded_answers(tmp_path: Path, method: str) -> None:
    """tlcl predict's network, rebuilt from the run directory, against the run's own last test."""
    path = go(configured(tmp_path, method, "data.train_size=80"))
    net, about, _ = load_run(path)
    assert about.classes == tuple("0123456789")
    given = predict(net, load_digits().test.images, batch_size=100)
    ours = torch.from_numpy(read_calibration(path).calibrated(given.numpy())).float()
    recorded = torch.from_numpy(np.load(path / "test_predictions.npz")["probabilities"])
    # SLDA's weights are large: the export in single precision costs a few digits.
    torch.testing.assert_close(ours, recorded, rtol=0.02, atol=2e-3)


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize("method", ["ncm", "slda"])
def test_a_closed_form_answer_survives_mixed_precision(tmp_path: Path, method: str) -> None:
    """The features may be of 16 bits, the last layer on them not: tlcl predict answers as the run did."""
    path = go(configured(tmp_path, method, "data.train_size=80", "trainer.precision=bf16-mixed"))
    net, _, config = load_run(path)
    ours = predict(net, load_digits().test.images, batch_size=256, precision=config.trainer.precision)
    recorded = np.load(path / "test_predictions.npz")["probabilities"]
    assert (ours.argmax(1).numpy() == recorded.argmax(1)).mean() > 0.99


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("er", ["thaw.depth=0"]),
        ("er", ["thaw.depth=1", "data.flip=true"]),
        ("icarl", ["thaw.depth=2", "data.flip=true"]),
        ("lwf", ["thaw.depth=1", "trainer.precision=bf16-mixed"]),
    ],
)
def test_frozen_blocks_computed_once_change_the_cost_not_the_numbers(
    tmp_path: Path, method: str, options: list[str]
) -> None:
    options = ["data.crop_padding=0", "data.train_size=80", *options]
    once = go(configured(tmp_path / "once", method, *options))
    each_time = go(configured(tmp_path / "each", method, *options, "data.cache_prefix=off"))
    one, two = (json.loads((path / "summary.json").read_text()) for path in (once, each_time))
    assert one["inputs"].startswith("outputs of")
    assert two["inputs"] == "images"
    losses = [[line["train/loss"] for line in read_lines(path / "metrics.jsonl")] for path in (once, each_time)]
    assert losses[0] == losses[1]
    probabilities = [np.load(path / "test_predictions.npz")["probabilities"] for path in (once, each_time)]
    np.testing.assert_array_equal(*probabilities)
    net, _, config = load_run(once)
    given = predict(net, load_digits().test.images, batch_size=256, precision=config.trainer.precision)
    ours = read_calibration(once).calibrated(given.numpy())
    np.testing.assert_allclose(ours, probabilities[0], rtol=0.02, atol=2e-3)


@pytest.mark.usefixtures("_undrawn")
def test_task_incremental_knows_the_task_and_measures_forward_transfer(tmp_path: Path) -> None:
    path = go(configured(tmp_path, "naive", "continual.scenario=task_incremental", "data.train_size=200"))
    measured, summary = read_matrix(path), json.loads((path / "summary.json").read_text())
    assert measured is not None
    assert not np.isnan(measured.matrix).any()
    assert summary["forward_transfer"] is not None
    probabilities = np.load(path / "test_predictions.npz")
    zero_to_three = probabilities["labels"] < 4
    assert np.all(probabilities["probabilities"][zero_to_three][:, 4:] == 0)


@pytest.mark.usefixtures("_undrawn")
def test_domain_incremental_shares_its_outputs(tmp_path: Path) -> None:
    options = ["continual.scenario=domain_incremental", "continual.classes_per_task=5", "data.train_size=80"]
    path = go(configured(tmp_path, "naive", *options))
    assert json.loads((path / "labels.json").read_text())["classes"] == [f"place {n}" for n in range(1, 6)]
    assert json.loads((path / "summary.json").read_text())["tasks"] == [list("01234"), list("56789")]
    with pytest.raises(UserError, match="icarl"):
        go(configured(tmp_path / "icarl", "icarl", *options))


@pytest.mark.usefixtures("_undrawn")
def test_a_fine_tuned_head_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's experiment: the model that knew all classes goes through them again, two at a time."""
    first = go(configured(tmp_path / "first", "joint", "data.train_size=80"))
    seen: list[torch.Tensor] = []
    original = Method.begin_task

    def begin(self: Method, net: torch.nn.Module, task: object) -> None:
        seen.append(net.classifier.weight.detach().clone())  # type: ignore[union-attr, operator]
        original(self, net, task)  # type: ignore[arg-type]

    monkeypatch.setattr(Method, "begin_task", begin)
    options = [f"model.weights={first}", "data.train_size=80"]
    go(configured(tmp_path / "kept", "naive", *options, "continual.head=kept"))
    kept = seen[0]
    seen.clear()
    go(configured(tmp_path / "new", "naive", *options))
    trained = load_run(first)[0].classifier.weight  # type: ignore[union-attr]
    assert torch.equal(kept, trained)  # type: ignore[arg-type]
    assert not torch.equal(seen[0], trained)  # type: ignore[arg-type]
    for weights, text in (("none", "RUN_DIR"), (str(tmp_path), "directory of a finished run")):
        with pytest.raises(UserError, match=text):
            go(configured(tmp_path / text, "naive", f"model.weights={weights}", "continual.head=kept"))


def test_validation_images_have_a_matrix_of_their_own(finished: Path) -> None:
    content = json.loads((finished / "accuracy_matrix.json").read_text())
    assert len(content["validation_matrix"]) == 3
    assert content["validation_matrix"] != content["matrix"]
    summary = json.loads((finished / "summary.json").read_text())
    assert 0 <= summary["validation"]["final_accuracy"] <= 1
    assert summary["val_size"] == 40


def test_comparison_is_the_mean_of_its_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["compare=default", "compare.methods=[joint,'er buffer_size=30']", "compare.seeds=[3,4]"]
    config = composed(tmp_path, *TASKS, "model=small_cnn", *options, "data.train_size=150", "optim.lr=0.005")
    with caplog.at_level("INFO"):
        path = go(config, compare.run)
    said = caplog.messages
    begun = [line for line in said if line.startswith("run ")]
    assert begun[0] == "run 1 of 4: method=joint seed=3"
    assert re.fullmatch(r"run 4 of 4, .* left: method=er buffer_size=30 seed=4", begun[-1])
    assert said[-3].splitlines()[0] == "in %: mean ± standard deviation over 2 seeds"
    assert said[-2].startswith("The highest accuracy")
    assert said[-1].startswith("report: ")
    rows = {row["method"]: row for row in json.loads((path / "compare.json").read_text())}
    assert set(rows) == {"joint", "er buffer_size=30"}
    for method, row in rows.items():
        runs = [path / "runs" / compare.run_name(method, seed) for seed in (3, 4)]
        finals = [json.loads((run_ / "summary.json").read_text())["final_accuracy"] for run_ in runs]
        assert finals[0] != finals[1]
        assert row["final_accuracy"] == pytest.approx(np.mean(finals))
        assert row["final_accuracy_std"] == pytest.approx(np.std(finals, ddof=1))
    assert "buffer_size: 30" in (path / "runs" / "er_buffer_size=30_seed3" / "config.yaml").read_text()
    page = (path / "report.html").read_text()
    assert "er buffer_size=30" in page
    assert page.count("data:image/png") == 2
    # A resumed comparison trains only what is missing.
    made = {run_: (run_ / "model.safetensors").stat().st_mtime_ns for run_ in (path / "runs").iterdir()}
    lost = path / "runs" / "joint_seed4" / "summary.json"
    before = (path / "compare.json").read_text()
    lost.unlink()
    (path / "summary.json").unlink()
    undrawn = path / "runs" / "joint_seed3" / "report.html"
    undrawn.unlink()
    go(config, compare.run)
    assert undrawn.is_file()
    again = {run_: (run_ / "model.safetensors").stat().st_mtime_ns for run_ in (path / "runs").iterdir()}
    assert [run_.name for run_ in made if again[run_] != made[run_]] == ["joint_seed4"]
    for old, new in zip(json.loads(before), json.loads((path / "compare.json").read_text()), strict=True):
        assert {k: v for k, v in old.items() if k != "seconds"} == {k: v for k, v in new.items() if k != "seconds"}


def test_a_run_that_diverges_does_not_stop_the_comparison(tmp_path: Path) -> None:
    options = ["compare=default", "compare.methods=['der alpha=1e30',naive]", "compare.seeds=[0]"]
    path = go(composed(tmp_path, *TASKS, *options, "data.train_size=60"), compare.run)
    summary = json.loads((path / "summary.json").read_text())
    assert list(summary["stopped"]) == ["der_alpha=1e30_seed0"]
    assert {row["method"]: row["runs"] for row in summary["methods"]} == {"naive": 1, "der alpha=1e30": 0}
    for part in ("not finite", "task 1, epoch", "method.alpha"):
        assert part in (path / "report.html").read_text()


def test_weights_that_cannot_be_had_leave_no_run_behind(tmp_path: Path) -> None:
    """The corrected command works with the same run_dir."""
    for job in ([], [*TASKS, "method=naive"]):
        with pytest.raises(UserError, match="does not exist"):
            go(composed(tmp_path, *job, "model.weights=/nowhere.pth"), run if job else finetune)
        assert not list((tmp_path / "run").rglob("config.yaml"))


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["continual=class_incremental", "trainer.select=last"], ["method=naive"]),
        (["method=er"], ["method", "continual=class_incremental"]),
        ([*TASKS, "method=er", "trainer.select=best"], ["trainer.select=last"]),
        ([*TASKS, "method=er", "trainer.precision=16-mixed"], ["bf16-mixed"]),
        ([*TASKS, "method=er", "compare=default"], ["either method or compare"]),
        ([*TASKS, "method=er", "+method.alpha=1"], ["method.alpha"]),
        ([*TASKS, "method=er", "method.buffer_size=0"], ["method.buffer_size=0"]),
        ([*TASKS, "method=naive", "continual.scenario=all"], ["continual.scenario", "task_incremental"]),
        (["data.val_size=0"], ["data.val_size=0"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_groups_that_do_not_fit_are_one_sentence(overrides: list[str], parts: list[str], tmp_path: Path) -> None:
    from tlcl.config.parse import parse_config

    with pytest.raises(UserError) as caught:
        parse_config(composed(tmp_path, *overrides))
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("methods", "part"),
    [
        ("[none_such]", "none_such"),
        ("['er buffer']", "KEY=VALUE"),
        ("['er size=3']", "er has buffer_size, replay_batch"),
        ("['er buffer_size=many']", "method.buffer_size"),
        ("[er,er]", "twice"),
        ("['naive name=joint']", "changes the name"),
        ("[naive,'icarl buffer_size=5']", "method.buffer_size=5"),
        ("[naive,'er buffer_size=100000000000000']", "less than"),
        ("[naive,'er buffer_size=2000000000']", "more memory"),
        ("[naive,'ranpac projection=10000000']", "more memory"),
        ("[]", "empty"),
    ],
)
def test_a_mistake_in_the_comparison_shows_before_anything_runs(tmp_path: Path, methods: str, part: str) -> None:
    config = composed(tmp_path, *TASKS, "compare=default", f"compare.methods={methods}")
    with pytest.raises(UserError) as caught:
        go(config, compare.run)
    assert part in str(caught.value)
    assert not list(tmp_path.rglob("config.yaml"))
