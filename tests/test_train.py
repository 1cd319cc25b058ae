"""The command line and the records of a run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file

from tests.conftest import FAST, composed, go
from tests.tracking.conftest import history
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.data.sources.digits import load_digits
from tlcl.explain.cka import similarities_on
from tlcl.jobs.finished import load_run
from tlcl.jobs.pretrain import letters_recipe, pretrained_on_letters
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.inference import predict
from tlcl.tracking.environment import environment
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.train import main

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished short run, made in this process."""
    path = tmp_path_factory.mktemp("finished")
    config = composed(path, "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]", "trainer.epochs=3")
    return go(config)


def test_what_takes_long_is_said_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        go(composed(tmp_path, "model=small_cnn", "trainer.epochs=2", "data.crop_padding=0"))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("tlcl")]
    said = [line for line in ours if not line.startswith(("report: ", "test accuracy "))]
    looked = [place for place, line in enumerate(said) if line.startswith(("1,797 images", "Always answering"))]
    assert looked == [1, 5]  # the look at the images, between the two
    del said[1:6]
    assert said == [
        "loading the data: digits",
        "computing the outputs of features of 96 images, once",
        "computing the outputs of features of 40 images, once",
        "testing on 400 images",
        "computing the outputs of features of 400 images, once",
        "drawing the report",
    ]


def test_something_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    code = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch", flush=True)
            raise SystemExit(0)
sys.meta_path.insert(0, Finder())
from tlcl.train import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *FAST, "run_dir=run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["starting", "torch"], done.stderr


def test_every_record_is_there(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml", "environment.json", "metrics.jsonl", "timings.jsonl", "summary.json", "labels.json",
        "model.safetensors", "test_predictions.npz", "test_predictions.csv", "calibration.json", "report.html",
        "checkpoints/last.ckpt",
    }  # fmt: skip
    assert "checkpoints/best.ckpt" not in names  # model.safetensors has these weights
    assert not [name for name in names if "partial" in name or "previous" in name or "incoming" in name]
    assert len(list((finished / "plots").glob("*.png"))) == 7
    lines = read_lines(finished / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["trainable"] for line in lines] == [["head"], ["layer4", "head"], ["layer4", "head"]]
    assert lines[0]["lr/head"] == 0.02
    assert lines[0]["lr/layer4"] == 0.01


def test_summary_follows_from_the_other_records(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    lines = read_lines(finished / "metrics.jsonl")
    best = max(lines, key=lambda line: (line["val/acc"], -line["val/loss"]))
    assert summary["selected"]["epoch"] == best["epoch"]
    assert summary["selected"]["val_acc"] == best["val/acc"]
    stored = np.load(finished / "test_predictions.npz")
    labels, probabilities = stored["labels"], stored["probabilities"]
    assert np.array_equal(labels, load_digits().test.labels.numpy())
    assert summary["test_acc"] == (probabilities.argmax(1) == labels).mean()
    wrong = probabilities.argmax(1) != labels
    confidence = np.where(wrong, probabilities.max(1), -1)
    assert stored["mistake_index"][0] == confidence.argmax()
    assert set(stored["mistake_index"]) <= set(np.flatnonzero(wrong))


def test_blocks_are_compared_with_the_start_weights(finished: Path) -> None:
    """Linear CKA of the network that the seed begins with and the exported one: 1 where nothing was trained."""
    found = json.loads((finished / "summary.json").read_text())["cka"]
    assert found["images"] == 256
    assert [found["blocks"][name] for name in ("stem", "layer1", "layer2", "layer3")] == [1.0] * 4
    after, labels, config = load_run(finished)
    before, _ = build_model(config.model, len(labels.classes), config.seed)
    assert isinstance(after, Blocks)
    images = load_digits().test.images
    again = similarities_on(images, before, after, torch.device("cpu"), "32-true")
    assert again is not None
    assert found["blocks"]["layer4"] == pytest.approx(again["blocks"]["layer4"], abs=1e-4)
    assert found["blocks"]["layer4"] < 0.9999
    page = (finished / "report.html").read_text()
    assert "linear CKA" in page
    assert "Bar chart: similarity" in page


def test_export_loads_into_torchvision(finished: Path) -> None:
    """The exported file is a plain torchvision ResNet-18 that gives the recorded probabilities."""
    about = json.loads((finished / "labels.json").read_text())
    net = torchvision.models.resnet18(num_classes=len(about["classes"]))
    net.load_state_dict(load_file(finished / "model.safetensors"))
    images = load_digits().test.images.float()
    images = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear", antialias=True) / 255
    mean, std = (torch.tensor(about[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        ours = net.eval()((images - mean) / std).softmax(1)
    recorded = torch.from_numpy(np.load(finished / "test_predictions.npz")["probabilities"])
    torch.testing.assert_close(ours, recorded, rtol=1e-3, atol=1e-4)


def test_load_run_gives_the_trained_network(finished: Path) -> None:
    net, labels, _ = load_run(finished)
    assert labels.classes == tuple("0123456789")
    ours = predict(net, load_digits().test.images, batch_size=100)
    recorded = torch.from_numpy(np.load(finished / "test_predictions.npz")["probabilities"])
    torch.testing.assert_close(ours, recorded, rtol=1e-4, atol=1e-5)


def test_a_finished_run_is_a_source_of_weights(finished: Path, tmp_path: Path) -> None:
    config = composed(tmp_path, f"model.weights={finished}", "trainer.epochs=1", "thaw.depth=0")
    summary = json.loads((go(config) / "summary.json").read_text())
    before, after = (load_file(path / "model.safetensors") for path in (finished, tmp_path / "run"))
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("fc."))
    assert summary["weights"]["sha256"] == json.loads((finished / "summary.json").read_text())["model_sha256"]


def test_the_letters_backbone_is_made_once_and_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = parse_config(composed(tmp_path))
    recipe = letters_recipe(config)
    other = parse_config(composed(tmp_path, "seed=5", "data.batch_size=8"))
    assert letters_recipe(other).run_dir == recipe.run_dir
    assert letters_recipe(parse_config(composed(tmp_path, "model.input_size=48"))).run_dir != recipe.run_dir
    made = []

    def fake(composed_recipe: object, directory: RunDirectory) -> None:
        made.append(directory.path)
        (directory.path / "config.yaml").write_text("x: 1")
        (directory.path / "model.safetensors").write_bytes(b"weights")
        import hashlib

        directory.write_json("summary.json", {"model_sha256": hashlib.sha256(b"weights").hexdigest()})

    for _ in range(2):
        path = pretrained_on_letters(config, fake)
    assert len(made) == 1
    (path / "model.safetensors").write_bytes(b"tampered")
    pretrained_on_letters(config, fake)
    assert len(made) == 2
    assert "does not have the hash" in caplog.text


LONE = ["data.train_size=10", "continual.classes_per_task=1"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trainer.epocs=3"], ["trainer.epocs", "trainer.epochs"]),
        (["+trainer.epocs=3"], ["trainer.epocs", "trainer.epochs"]),
        (["trainer.epochs=many"], ["trainer.epochs"]),
        (["+thaw.-1=[layer4]"], ["-1"]),
        (["thaw=milestones", "+thaw.0=[head]", "+thaw.2=[layer9]"], ["layer9"]),
        (["thaw=milestones", "+thaw.0=[head]", "+thaw.2=[stem]"], ["stem", "layer4"]),
        (["thaw.depth=9"], ["thaw.depth"]),
        (["thaw=nothing"], ["thaw/nothing", "layerwise"]),
        (["data=image_folder"], ["data.train"]),
        (["data=image_folder", "data.train=/nowhere"], ["/nowhere"]),
        (["+experiment=none_such"], ["experiment/none_such"]),
        (["data.batch_size=[1"], ["command line"]),
        (["+experiment=continual_digits", "method=null"], ["~method"]),
        (["+experiment=continual_digits", "method=none_such"], ["method/none_such", "der_pp"]),
        (["+experiment=continual_digits", "continual.classes_per_task=3"], ["classes_per_task=3", "[3, 3, 3, 1]"]),
        (["+experiment=continual_digits", "continual.class_order=[0,1]"], ["continual.class_order", "lacks"]),
        (["+experiment=continual_digits", "method=icarl", "method.buffer_size=9"], ["method.buffer_size=9", "10"]),
        (["trainer.accelerator=quantum"], ["trainer.accelerator=quantum", "auto"]),
        (["+experiment=continual_digits", "trainer.accelerator=quantum"], ["trainer.accelerator=quantum", "auto"]),
        (["+experiment=continual_digits", *LONE], ["task 1 has one training image", "data.train_size"]),
        (["+resume=/nowhere"], ["/nowhere"]),
        (["resume=/nowhere"], ["+resume="]),
        (["data.train_size=100000"], ["data.train_size"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [] if "resume" in arguments[0] else ["model.weights=none", "logger=none"]
    monkeypatch.setattr("sys.argv", ["tlcl train", *quick, *arguments])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.slow
def test_a_users_mistake_on_the_real_command_line(train_cli: Cli) -> None:
    result = train_cli("trainer.epocs=3")
    assert result.returncode == 2
    assert result.stderr.strip() == "error: there is no config key 'trainer.epocs'; did you mean 'trainer.epochs'?"


@pytest.mark.slow
def test_multirun_makes_a_directory_a_job(train_cli: Cli, tmp_path: Path) -> None:
    result = train_cli("-m", *FAST, "trainer.epochs=1", "thaw.depth=0,1", "hydra.sweep.dir=sweep")
    assert result.returncode == 0, result.stderr
    summaries = [json.loads((tmp_path / "sweep" / job / "summary.json").read_text()) for job in "01"]
    assert [summary["trained_blocks"] for summary in summaries] == [["head"], ["layer4", "head"]]
    assert "GPU available" not in result.stdout + result.stderr  # Lightning's own lines say nothing of the run


@pytest.mark.slow
def test_wandb_offline_run_reads_back(train_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What W&B stored is what metrics.jsonl holds; no key in any record; no prompt although stdin is closed."""
    secret = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    arguments = [item for item in FAST if not item.startswith("logger")]
    result = train_cli(*arguments, "logger.mode=offline", "trainer.epochs=2", "thaw.depth=0", "run_dir=run")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "cache"}  # nothing of Hydra's beside it
    (stored,) = (tmp_path / "run").rglob("*.wandb")
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    logged = [row for row in history(stored) if "val/acc" in row and "trainable_blocks" in row]
    assert [row["val/acc"] for row in logged] == [line["val/acc"] for line in lines]
    assert [row["epoch"] for row in logged] == [0, 1]
    listed = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", str(stored.parent)], capture_output=True, text=True
    )
    assert stored.parent.name in listed.stdout + listed.stderr
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_environment_holds_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    about = environment(4)
    assert "s3cret" not in json.dumps(about)
    assert about["seed"] == 4
    assert about["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_backbones_have_the_same_block_names() -> None:
    assert sorted(GROUPS["model"]) == ["efficientnet_lite0", "resnet18", "small_cnn", "timm"]
