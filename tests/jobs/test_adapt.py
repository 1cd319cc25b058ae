"""A whole adaptation: hidden labels are of no effect, a resume is the same run, records, prediction, mistakes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.adaptation.conftest import RUN
from tests.conftest import composed, go
from tests.jobs.conftest import Killed
from tlcl.adaptation import evaluate, pairs
from tlcl.adaptation import learner as setup
from tlcl.adaptation.learner import domain_names
from tlcl.adaptation.module import AdaptationModule
from tlcl.adaptation.validator import source_entropy
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.sources.image_folder import ImageFolderConfig
from tlcl.data.sources.registry import load_source, load_target
from tlcl.errors import TrainingError, UserError
from tlcl.jobs.adapt import run
from tlcl.jobs.finished import load_run
from tlcl.jobs.more_epochs import longer
from tlcl.models.inference import predict
from tlcl.reports.dashboard.views import ADAPTATION
from tlcl.reports.plots.adaptation import adaptation_curves
from tlcl.reports.render import render
from tlcl.reports.tables.compare import gap_closed
from tlcl.sweeps import compare
from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.finished_run import read_run
from tlcl.tracking.records import RunDirectory, read_lines

pytestmark = pytest.mark.usefixtures("undrawn")

ENTROPY = ["adaptation.validator=source_entropy", "trainer.select=best"]


@pytest.fixture(autouse=True)
def _small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SHOWN", 30)


def config_of(tmp_path: Path, *overrides: str) -> DictConfig:
    return composed(tmp_path, *RUN, *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "SHOWN", 30)
        return go(config_of(path, "adaptation=dann"), run)


def test_a_loss_that_is_not_finite_is_told_with_the_rates_of_its_batch(tmp_path: Path) -> None:
    """Not with those at the end of the cosine, which are 0, where it is read."""
    config = config_of(tmp_path, "adaptation=source_only", "trainer.epochs=1", "optim.lr=1e30", "optim.name=sgd")
    told = r"batch [1-9]\d*; learning rates: stem \S*e\+29, .*head \S*e\+29; thawed"
    with pytest.raises(TrainingError, match=told):
        go(config, run)


def test_the_dashboard_shows_what_is_recorded(finished: Path) -> None:
    run = read_run(finished)
    assert run is not None
    assert run.job == ADAPTATION.job
    for value in ADAPTATION.values():
        assert value.key in (run.flat_config if value.where == "config" else run.flat_summary)
    for x, key in ADAPTATION.curves():
        assert len(run.curve(x, key)) == 3
    assert all((finished / "plots" / f"{name}.png").is_file() for name in ADAPTATION.plots())


def test_every_record_is_there(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml", "environment.json", "metrics.jsonl", "timings.jsonl", "summary.json", "labels.json",
        "model.safetensors", "test_predictions.npz", "embedding.npz", "report.html", "checkpoints/last.ckpt",
        "plots/embedding.png", "plots/curves.png", "plots/confusion.png", "plots/thaw.png", "plots/mistakes.png",
    }  # fmt: skip
    lines = read_lines(finished / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[0].keys() >= {"train/task", "train/alignment", "val/acc", "val/target_entropy", "lr/head"}
    assert "lr/method" not in lines[0]
    assert 0 <= lines[0]["val/target_entropy"] <= 1
    with np.load(finished / "embedding.npz") as stored:
        assert stored["before"].shape == stored["after"].shape == (60, 2)
        assert stored["domains"].tolist() == [0] * 30 + [1] * 30


def test_summary_says_what_was_measured(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    stored = np.load(finished / "test_predictions.npz")
    assert summary["test_acc"] == (stored["probabilities"].argmax(1) == stored["labels"]).mean()
    assert (summary["job"], summary["method"]["name"], summary["labelled"]) == ("adapt", "dann", 0)
    last = read_lines(finished / "metrics.jsonl")[-1]
    figures = {name: last[f"val/{name}"] for name in ("acc", "loss", "target_entropy")}
    assert summary["selected"] == {"validator": "last", "epoch": 2, **figures}
    assert (summary["source_train_size"], summary["train_size"], summary["val_size"]) == (140, 96, 40)
    assert 0 <= summary["a_distance"] <= 2
    assert summary["before"].keys() == {"test_acc", "source_test_acc", "a_distance"}


def test_report_is_one_page_that_names_the_validator(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "No target label was seen in training" in page
    assert "the last epoch" in page
    assert page.count("data:image/png;base64,") == 6
    assert "http" not in page.split("<body>")[1].split("Versions")[0]


def test_report_of_an_unfinished_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("source: {source: letters}\n")
    assert "not finished" in render(tmp_path).read_text()


def test_the_model_predicts(finished: Path) -> None:
    net, labels, config = load_run(finished)
    target = load_source(config.data, "unused")
    ours = predict(net, target.test.images, batch_size=100)
    recorded = torch.from_numpy(np.load(finished / "test_predictions.npz")["probabilities"])
    torch.testing.assert_close(ours, recorded, rtol=1e-3, atol=1e-4)
    assert labels.classes == tuple("0123456789")


def shuffled(source: Source, keep: torch.Tensor) -> Source:
    """All labels of pool and test permuted, but for the pool's images `keep`."""

    def move(part: ImageTensors, keep: torch.Tensor, seed: int) -> ImageTensors:
        free = torch.ones(len(part), dtype=torch.bool)
        free[keep] = False
        order = free.nonzero().squeeze(1)
        labels = part.labels.clone()
        random = torch.Generator().manual_seed(seed)
        labels[order] = part.labels[order[torch.randperm(len(order), generator=random)]]
        return replace(part, labels=labels)

    return replace(source, pool=move(source.pool, keep, 1), test=move(source.test, keep[:0], 2))


@pytest.mark.parametrize(
    "overrides",
    [["adaptation=dann", *ENTROPY], ["adaptation=adabn", "model=resnet18", "trainer.epochs=1"],
     ["adaptation=cdan", "adaptation.target_labels=1"], ["adaptation=ccsa", "adaptation.target_labels=2"],
     ["adaptation=source_only", *ENTROPY]],
    ids=" ".join,
)  # fmt: skip
def test_hidden_target_labels_change_nothing_before_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    """Bitwise: the same model, checkpoint and figures of every epoch; the test alone is another."""
    first = go(config_of(tmp_path / "a", *overrides), run)
    learner = setup.prepare(parse_config(config_of(tmp_path / "a", *overrides)), setup.load_domains(
        parse_config(config_of(tmp_path / "a", *overrides))))  # fmt: skip
    known, original = learner.known, load_target

    def other(config, cache_dir, classes):  # type: ignore[no-untyped-def]
        source = original(config, cache_dir, classes)
        return shuffled(source, known) if config.source == "digits" else source

    monkeypatch.setattr(setup, "load_target", other)
    # Given the same few labelled images: which ones are the first of each class, their labels decide.
    monkeypatch.setattr(setup, "choose_labelled", lambda *_: known)
    second = go(config_of(tmp_path / "b", *overrides), run)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert read_lines(first / "metrics.jsonl") == read_lines(second / "metrics.jsonl")
    one, two = (json.loads((path / "summary.json").read_text()) for path in (first, second))
    assert one["selected"] == two["selected"]
    assert one["test_acc"] != two["test_acc"]
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (first, second))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("place", [(1, 0), (2, 1)])
def test_resume_is_bitwise_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int]) -> None:
    """With blocks that thaw on the way, a discriminator, labelled images and the entropy validator."""
    options = ["adaptation=dann", "adaptation.target_labels=1", *ENTROPY, "data.crop_padding=1", "data.flip=true",
               "~thaw", "+thaw.0=[head,layer3]", "+thaw.1=[layer2]"]  # fmt: skip
    whole = go(config_of(tmp_path / "whole", *options), run)
    original = AdaptationModule.training_step

    def step(self: AdaptationModule, batch: pairs.Pair, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == place:
            monkeypatch.setattr(AdaptationModule, "training_step", original)
            raise Killed
        return original(self, batch, batch_idx)

    monkeypatch.setattr(AdaptationModule, "training_step", step)
    config = config_of(tmp_path / "cut", *options)
    with pytest.raises(Killed):
        go(config, run)
    cut = go(config, run)
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert read_lines(whole / "metrics.jsonl") == read_lines(cut / "metrics.jsonl")
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (whole, cut))
    assert any(key.startswith("method.discriminator") for key in ours["state_dict"])
    for key, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][key])
    one, two = (json.loads((path / "summary.json").read_text()) for path in (whole, cut))
    for key in ("test_acc", "source_test_acc", "a_distance", "before", "selected"):
        assert one[key] == two[key]


def test_the_entropy_validator_takes_its_best_epoch(tmp_path: Path) -> None:
    path = go(config_of(tmp_path, "adaptation=mmd", *ENTROPY, "optim.lr=0.05"), run)
    lines = read_lines(path / "metrics.jsonl")
    scores = [line["val/acc"] - line["val/target_entropy"] for line in lines]
    assert scores[1] == source_entropy(lines[1])[0]
    best = int(np.argmax(scores))
    assert json.loads((path / "summary.json").read_text())["selected"]["epoch"] == best
    kept = read_checkpoint(path / "checkpoints" / "best.ckpt")
    assert kept["score"] == [pytest.approx(scores[best])]
    # The last epoch's answers stand beside it: those of a run that tests them.
    last = go(config_of(tmp_path / "last", "adaptation=mmd", "optim.lr=0.05"), run)
    summary = json.loads((last / "summary.json").read_text())
    beside = json.loads((path / "summary.json").read_text())["last_epoch"]
    assert beside == {"epoch": 2, **{key: summary[key] for key in ("test_acc", "source_test_acc")}}
    assert summary["last_epoch"] is None


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_without_validation_images_the_last_epoch_can_be_tested(tmp_path: Path, ours: bool, theirs: bool) -> None:
    """Of either domain, or of both: what is measured is measured of the right one."""
    without = ["source.val_size=0"] * (not ours) + ["data.val_size=0"] * (not theirs)
    path = go(config_of(tmp_path, "adaptation=coral", *without), run)
    selected = json.loads((path / "summary.json").read_text())["selected"]
    assert (selected["acc"] is None, selected["target_entropy"] is None) == (not ours, not theirs)
    assert (path / "plots" / "curves.png").is_file()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["~data@source", "adaptation=dann"], ["labelled source domain", "data@source="]),
        ([], ["adaptation=dann", "compare=adaptation"]),
        (["adaptation=dann", "compare=adaptation"], ["either adaptation", "compare"]),
        (["adaptation=dann", "continual=class_incremental"], ["continual", "source"]),
        (["adaptation=dann", "trainer.devices=2"], ["trainer.devices=2", "one device"]),
        (["adaptation=dann", "trainer.select=best"], ["adaptation.validator=last", "trainer.select=last"]),
        (["adaptation=dann", "adaptation.validator=source_entropy"], ["trainer.select=best"]),
        (["adaptation=dann", "adaptation.validator=best"], ["adaptation.validator", "last, source_entropy"]),
        (["adaptation=dann", *ENTROPY, "source.val_size=0"], ["source.val_size=0", "source_entropy"]),
        (["adaptation=dann", *ENTROPY, "data.val_size=0"], ["data.val_size=0", "source_entropy"]),
        (["adaptation=target_oracle", *ENTROPY], ["target_oracle", "adaptation.validator=last"]),
        (["adaptation=fine_tune", *ENTROPY], ["fine_tune", "adaptation.validator=last"]),
        (["adaptation=ccsa", "adaptation.target_labels=0"], ["ccsa", "adaptation.target_labels"]),
        (["adaptation=fine_tune", "adaptation.target_labels=0"], ["fine_tune", "adaptation.target_labels"]),
        (["adaptation=ccsa", "adaptation.weight=1.5"], ["adaptation.weight=1.5", "at most 1"]),
        (["adaptation=ccsa", "adaptation.target_labels=500"], ["adaptation.target_labels=500", "class '"]),
        (["adaptation=dann", "adaptation.ramp=linear"], ["adaptation.ramp", "none, dann"]),
        (["adaptation=dann", "+adaptation.margin=1"], ["adaptation.margin", "choose another adaptation"]),
        (["adaptation=dann", "adaptation.block=layer9"], ["adaptation.block='layer9'", "layer3, features"]),
        (["adaptation=mmd", "thaw=head_only"], ["adaptation.block=features", "frozen", "thaw=all"]),
        (
            ["adaptation=dann", "data@source=letters", "source.images_per_class=4"],
            ["letters", "digits", "only the source has A, B"],
        ),
        (["adaptation=dann", "source.batch_size=1"], ["source.batch_size=1", "at least 2"]),
        (["adaptation=dann", "source.val_size=900"], ["source.val_size=900"]),
        (["adaptation=dann", "source.crop_padding=9"], ["source.crop_padding=9", "8x8"]),
        (["adaptation=dann", "data.crop_padding=9"], ["data.crop_padding=9", "8x8"]),
        (["adaptation=dann", "data.train_size=5000"], ["data.train_size=5000", "1397"]),
        (["adaptation=dann", "source.cache_prefix=ram"], ["source.cache_prefix=ram"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_and_leaves_no_run(
    tmp_path: Path, overrides: list[str], named: list[str]
) -> None:
    base = [option for option in RUN if not option.startswith(("source.", "data@source"))]
    source = [] if "~data@source" in overrides else [option for option in RUN if option not in base]
    if any(option.startswith("data@source") for option in overrides):
        source = []
    options = [option for option in overrides if option != "~data@source"]
    config = composed(tmp_path, *base, *source, *options)

    with pytest.raises(UserError) as caught:
        go(config, run)
    sentence = str(caught.value)
    assert all(part in sentence for part in named), sentence
    assert "\n" not in sentence
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_classes_are_matched_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(config_of(tmp_path, "adaptation=dann"))
    plain, original = setup.load_domains(config).source, load_source

    def backwards(part: ImageTensors) -> ImageTensors:
        return ImageTensors(part.images, 9 - part.labels, part.classes[::-1])

    def other(data, cache_dir):  # type: ignore[no-untyped-def]
        source = original(data, cache_dir)
        if data.source == "digits":
            return source
        return Source(backwards(source.pool), backwards(source.test))

    monkeypatch.setattr(setup, "load_source", other)
    moved = setup.load_domains(config).source
    assert torch.equal(moved.pool.labels, plain.pool.labels)
    assert moved.pool.classes == plain.pool.classes


def test_comparison_of_methods_and_seeds(tmp_path: Path) -> None:
    methods = "[source_only,target_oracle,'dann weight=0.5']"
    options = ["compare=adaptation", f"compare.methods={methods}", "compare.seeds=[3,4]", "trainer.epochs=2"]
    path = go(config_of(tmp_path, *options), compare.run)
    rows = {row["method"]: row for row in json.loads((path / "compare.json").read_text())}
    assert rows.keys() == {"source_only", "target_oracle", "dann weight=0.5"}
    summaries = [
        json.loads((path / "runs" / f"dann_weight=0.5_seed{seed}" / "summary.json").read_text()) for seed in (3, 4)
    ]
    row = rows["dann weight=0.5"]
    assert row["test_acc"] == pytest.approx(np.mean([summary["test_acc"] for summary in summaries]))
    assert row["a_distance_std"] == pytest.approx(np.std([s["a_distance"] for s in summaries], ddof=1))
    assert summaries[0]["method"]["weight"] == 0.5
    page = (path / "report.html").read_text()
    assert "proxy A-distance" in page
    assert "forgetting" not in page
    assert "tlcl predict" not in page, "without labels nothing but test images could say which method to use"
    assert (path / "plots" / "target.png").is_file()


def test_share_of_the_gap_that_is_closed() -> None:
    measured = {"source_only": 0.6, "target_oracle": 0.9, "mmd": 0.8, "dann": 0.5, "unfinished": None}
    rows = [{"method": name, "test_acc": value} for name, value in measured.items()]
    closed = gap_closed(rows)
    assert closed == pytest.approx({"source_only": 0.0, "target_oracle": 1.0, "mmd": 2 / 3, "dann": -1 / 3})
    assert gap_closed(rows[1:]) == gap_closed(rows[:1]) == {}


def test_a_comparison_has_methods_beside_each_other_by_either_choice_of_the_epoch(tmp_path: Path) -> None:
    methods = "compare.methods=[mmd,'mmd validator=source_entropy','mmd weight=2']"
    config = parse_config(config_of(tmp_path, "compare=adaptation", methods))
    runs = {run.settings["method"]: run.config for run in compare.children(config, tmp_path)}
    found = {text: (run.adaptation.validator, run.trainer.select) for text, run in runs.items() if run.adaptation}
    assert found == {
        "mmd": ("last", "last"), "mmd validator=source_entropy": ("source_entropy", "best"),
        "mmd weight=2": ("last", "last"),
    }  # fmt: skip


def test_comparison_names_a_method_that_is_none(tmp_path: Path) -> None:
    config = config_of(tmp_path, "compare=adaptation", "compare.methods=[er]")
    with pytest.raises(UserError, match=r"names 'er'; the methods are adabn, bnm, ccsa, .*, target_oracle$"):
        go(config, compare.run)


@pytest.mark.slow
def test_adaptation_by_command_line(tmp_path: Path, train_cli: Callable) -> None:
    done = train_cli("+experiment=adapt_digits", *RUN[1:], "adaptation=mmd", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert "target test accuracy" in done.stdout
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").adaptation.name == "mmd"


@pytest.mark.parametrize("method", ["dann", "mcc", "ccsa adaptation.target_labels=2", "adabn", "source_only"])
def test_frozen_blocks_computed_once_are_what_training_computes(tmp_path: Path, method: str) -> None:
    """Both domains' outputs, two versions of each image: the same losses, weights and answers to the bit."""
    found = []
    for mode in ("ram", "off"):
        given = ["model=resnet18", "source.crop_padding=0", "data.crop_padding=0", "thaw=last_block"]
        config = config_of(
            tmp_path / mode, *f"adaptation={method}".split(), *given, "trainer.epochs=2", "optim.lr=0.01",
            f"data.cache_prefix={mode}",
        )  # fmt: skip
        path = go(config, run)
        summary = json.loads((path / "summary.json").read_text())
        assert summary["inputs"] == ("images" if mode == "off" else "outputs of layer3, computed once")
        metrics = read_lines(path / "metrics.jsonl")
        lines = [{k: v for k, v in line.items() if "seconds" not in k} for line in metrics]
        state = read_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"]
        found.append((lines, state, np.load(path / "test_predictions.npz")["probabilities"]))
    (lines, state, answers), (other_lines, other_state, other_answers) = found
    assert lines == other_lines
    assert state.keys() == other_state.keys()
    assert all(torch.equal(value, other_state[key]) for key, value in state.items())
    assert np.array_equal(answers, other_answers)


def test_what_is_not_computed_once(tmp_path: Path) -> None:
    """Crops of each epoch's own, a network that trains from its first block on, a method that rebuilds images."""
    for number, overrides in enumerate(
        (["adaptation=dann", "thaw=last_block", "data.crop_padding=2"], ["adaptation=dann", "thaw=all"],
         ["adaptation=dsn", "thaw=last_block", "data.crop_padding=0", "source.crop_padding=0"])
    ):  # fmt: skip
        given = [override for override in RUN if override != "thaw=all"]
        path = go(composed(tmp_path / str(number), *given, *overrides, "trainer.epochs=1"), run)
        assert json.loads((path / "summary.json").read_text())["inputs"] == "images"


@pytest.mark.parametrize("experiment", ["adapt_pacs", "imagenet_to_cifar10", "own_images", "continual_pacs"])
def test_a_thaw_that_is_given_takes_the_place_of_an_experiments(tmp_path: Path, experiment: str) -> None:
    root = ["data.root=/domains"]
    data = {"adapt_pacs": root, "continual_pacs": root, "own_images": ["data.train=/a"]}
    for thaw, trained in (("all", None), ("head_only", {"head"})):
        typed = [f"+experiment={experiment}", f"thaw={thaw}", *data.get(experiment, [])]
        schedule = parse_config(composed_config(typed)).schedule
        assert schedule.trainable(0) == (trained or set(schedule.order))
    layerwise = parse_config(composed_config([f"+experiment={experiment}", "thaw=layerwise", "trainer.epochs=35",
                                              *data.get(experiment, [])])).schedule  # fmt: skip
    assert [len(layerwise.trainable(epoch)) for epoch in (0, 15, 25)] == [1, 2, 3]


def test_domains_are_named_by_their_folders(tmp_path: Path) -> None:
    """And those of one name by their whole paths."""

    def folder(path: str) -> ImageFolderConfig:
        return ImageFolderConfig("image_folder", train=path)

    assert domain_names(folder("/a/photos.tar"), folder("/a/sketches")) == ("photos.tar", "sketches")
    assert domain_names(folder("/a/train"), folder("/b/train")) == ("/a/train", "/b/train")
    digits = [DigitsConfig("digits", shift=shift) for shift in ("none", "noise")]
    assert domain_names(*digits) == ("digits", "digits (noise)")


def test_a_domain_with_one_test_image_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_left(config: object, cache_dir: str, *_: object) -> Source:
        found = load_source(DigitsConfig("digits"), cache_dir)
        return replace(found, test=replace(found.test, images=found.test.images[:1], labels=found.test.labels[:1],
                                           digests=None))  # fmt: skip

    monkeypatch.setattr(setup, "load_target", one_left)
    with pytest.raises(UserError, match=r"data\.source=digits has 1 test image; .* give at least 2"):
        go(config_of(tmp_path, "adaptation=mmd"), run)
    assert not (tmp_path / "run").exists()


def test_what_begins_after_the_training_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for given, warned in (([], 1), (["adaptation.similarity_from=0"], 0), (["trainer.epochs=90"], 0)):
        caplog.clear()
        config = parse_config(config_of(tmp_path, "adaptation=dsn", "trainer.epochs=1", *given))
        setup.prepare(config, setup.load_domains(config))
        said = "come before adaptation.similarity_from=100"
        assert sum(said in one.message for one in caplog.records) == warned


def test_fine_tuning_has_no_more_epochs(finished: Path, tmp_path: Path) -> None:
    config = parse_config(config_of(tmp_path, "adaptation=fine_tune", "adaptation.target_labels=2"))
    with pytest.raises(UserError, match=r"goes from the source to the target at a share of all its epochs"):
        longer(config, config_of(tmp_path), {"trainer.epochs": 6}, RunDirectory(finished, resume=True))


def test_a_term_of_the_loss_that_begins_later_is_drawn() -> None:
    line = {"trainable": ["head"], "trainable_blocks": 1, "train/loss": 2.0, "train/acc": 0.5}
    lines = [{"epoch": epoch, **line} for epoch in range(3)]
    lines[2] |= {"train/similarity": 0.7}
    axes = adaptation_curves(lines).axes[1]
    drawn = {line.get_label(): np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()}
    assert np.isnan(drawn["similarity"][:2]).all()
    assert drawn["similarity"][2] == 0.7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["thaw=all"], ""),
        (["thaw=all", "optim.batch_norm=frozen"], "optim.batch_norm=frozen keeps those of the pretraining"),
        (["thaw.depth=1"], "stem, layer1, layer2, layer3 stay frozen"),
    ],
)
def test_averages_that_are_not_the_sources_are_warned_of(
    tmp_path: Path, given: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("adabn", "source_only"):
        caplog.clear()
        config = parse_config(config_of(tmp_path, f"adaptation={method}", "model=resnet18", *given))
        setup.prepare(config, setup.load_domains(config))
        assert [said in record.message for record in caplog.records if record.levelname == "WARNING"] == (
            [True] if said and method == "adabn" else []
        )
