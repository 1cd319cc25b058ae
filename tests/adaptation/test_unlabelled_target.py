"""A target that nobody has labelled: any folder of images, tested on a folder of its own or not at all."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import composed, go
from tlcl.adaptation.learner import load_domains, prepare
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.jobs.distance import measure, table

pytestmark = pytest.mark.usefixtures("undrawn")


def blob(path: Path, quarter: int, seed: int) -> None:
    """Bright in one quarter."""
    pixels = np.random.default_rng(seed).integers(0, 50, (16, 16, 3))
    row, column = divmod(quarter, 2)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for k, name in enumerate("abc"):
        for i in range(20):
            blob(tmp_path / "source" / name / f"{i}.png", k, 100 * k + i)
            blob(tmp_path / "new" / f"{k}_{i}.png", k, 1000 + 100 * k + i)
            blob(tmp_path / "camera" / f"DCIM{i % 2}" / f"{k}_{i}.png", k, 1000 + 100 * k + i)
        for i in range(5):
            blob(tmp_path / "test" / name / f"{i}.png", k, 5000 + 100 * k + i)
    return tmp_path


def keys(folders: Path, target: str, *more: str) -> list[str]:
    return [
        "data=image_folder", "data@source=image_folder", f"source.train={folders / 'source'}", "source.size=16",
        f"data.train={folders / target}", "data.size=16", "data.train_size=null", "data.val_size=null",
        "model=small_cnn", "thaw=all", "optim.name=adamw", "optim.lr=0.002", "trainer.epochs=12",
        "trainer.select=last", "data.crop_padding=0", "source.crop_padding=0", "data.flip=false",
        "source.flip=false",
        *more,
    ]  # fmt: skip


@pytest.mark.parametrize(("target", "more"), [("new", []), ("camera", ["data.labels=none"])])
def test_it_is_learned_from_and_tested_where_there_are_labels(folders: Path, target: str, more: list[str]) -> None:
    test = f"data.test={folders / 'test'}"
    path = go(composed(folders, *keys(folders, target, "adaptation=dann", test, *more)))
    summary = json.loads((path / "summary.json").read_text())
    assert summary["test_acc"] == 1.0
    assert (summary["train_size"] + summary["val_size"], summary["test_size"], summary["labelled"]) == (60, 15, 0)


def test_without_test_labels_the_answers_are_written_and_no_accuracy(folders: Path) -> None:
    path = go(composed(folders, *keys(folders, "new", "adaptation=coral")))
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["test_acc"], summary["test_loss"], summary["before"]["test_acc"]) == (None, None, None)
    with open(path / "test_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert {row["label"] for row in rows} == {""}
    right = [row["prediction"] == "abc"[int(row["file"][0])] for row in rows]
    assert sum(right) >= 57
    assert "cannot be read" not in (path / "report.html").read_text()


@pytest.mark.parametrize("method", ["target_oracle", "ccsa"])
def test_methods_that_need_labels_say_so(folders: Path, method: str) -> None:
    few = ["adaptation.target_labels=2"] if method == "ccsa" else []
    config = parse_config(composed(folders, *keys(folders, "new", f"adaptation={method}", *few)))
    with pytest.raises(UserError, match=f"adaptation={method} learns from labels of the target, and its images"):
        prepare(config, load_domains(config))


def test_fine_tuning_needs_labels(folders: Path) -> None:
    fine = ["data=image_folder", f"data.train={folders / 'new'}", "model=small_cnn"]
    with pytest.raises(UserError, match="60 files are in no class folder"):
        go(composed(folders, *fine))
    with pytest.raises(UserError, match=r"data\.labels=none is for the target of an adaptation"):
        go(composed(folders, *fine, "data.labels=none"))


def test_its_distance_has_no_figures_of_labels(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLCL_CACHE", str(folders / "cache"))
    run = go(composed(folders, *keys(folders, "new", "adaptation=coral", "trainer.epochs=1")))
    found = measure(str(folders / "source"), str(folders / "new"), model=str(run), size=16)
    labelled = measure(str(folders / "source"), str(folders / "test"), model=str(run), size=16)
    assert (found["leep"], found["logme"], found["target_classes"]) == (None, None, None)
    assert None not in labelled.values()
    assert "60 images without labels" in table(found)
    assert "LEEP                     –" in table(found)
