"""What a run finds in a folder of images: wrong labels and near duplicates, by file."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import composed, go
from tests.jobs.conftest import summary
from tlcl.jobs import finetune as module
from tlcl.jobs.findings import finding_lines
from tlcl.reports.report import report
from tlcl.tracking.findings import LABEL_ISSUES, NEAR_DUPLICATES, read_findings

CLASSES, EACH = ("=reds", "greens", "blues"), 40
MISLABELLED = {("=reds", 3): "greens", ("greens", 7): "blues", ("blues", 11): "=reds", ("=reds", 17): "blues"}


def picture(random: np.random.Generator, kind: int) -> Image.Image:
    """Soft random patches, in which one colour is stronger."""
    small = random.integers(0, 150, (6, 6, 3))
    small[:, :, kind] += 100
    return Image.fromarray(small.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with four wrong labels, and two copies: one mirrored in the test, one smaller in training."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", EACH), ("test", 10)):
        for kind, name in enumerate(CLASSES):
            for number in range(count):
                where = MISLABELLED.get((name, number), name) if part == "train" else name
                path = root / part / where / f"{name}_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(random, kind).save(path)
    ImageOps.mirror(Image.open(root / "train/greens/greens_1.png")).save(root / "test/greens/mirrored.png")
    Image.open(root / "train/blues/blues_1.png").resize((40, 40)).save(root / "train/greens/smaller.jpg")
    return root


def run_in(path: Path, folder: Path, *overrides: str) -> Path:
    return go(
        composed(
            path, "data=image_folder", f"data.train={folder / 'train'}", f"data.test={folder / 'test'}",
            "model=small_cnn", "model.input_size=32", "data.size=32", "data.train_size=null", "data.val_size=12",
            "data.crop_padding=0", "optim.head=fitted", *overrides,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "similarities_on", lambda *_: None)
        return run_in(tmp_path_factory.mktemp("run"), folder)


def table(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_are_named_with_their_files(found: Path) -> None:
    rows = table(found / "label_issues.csv")
    said = {Path(row["file"].lstrip("'")).name: (row["label"], row["suggested_label"]) for row in rows}
    for (name, number), label in MISLABELLED.items():
        cells = [f"'{text}" if text.startswith("=") else text for text in (label, name)]  # else a formula
        assert said.pop(f"{name}_{number}.png") == tuple(cells)
    assert said.pop("smaller.jpg") == ("greens", "blues")
    assert len(said) <= 2
    assert summary(found)["label_issues"] == len(rows)
    assert summary(found)["label_issues_among"] == 3 * EACH + 1
    probabilities = [float(row["p_label"]) for row in rows]
    assert probabilities == sorted(probabilities)
    assert all(float(row["p_suggested_label"]) > float(row["p_label"]) for row in rows)


def test_near_duplicates_of_the_test_come_first(found: Path) -> None:
    rows = table(found / "near_duplicates.csv")
    assert [(row["other_split"], row["label"], row["other_label"]) for row in rows[:1]] == [
        ("test", "greens", "greens")
    ]
    assert (Path(rows[0]["file"]).name, Path(rows[0]["other_file"]).name) == ("greens_1.png", "mirrored.png")
    assert {Path(rows[1][key]).name for key in ("file", "other_file")} == {"blues_1.png", "smaller.jpg"}
    assert len(rows) == 2
    assert (summary(found)["near_duplicates"], summary(found)["near_duplicates_of_test"]) == (2, 1)


def test_lines_and_page(found: Path) -> None:
    issues = summary(found)["label_issues"]
    assert finding_lines(summary(found), Path("run")) == [
        f"{issues} labels look wrong: run/label_issues.csv",
        "2 pairs of images are alike, 1 of a test image and another (the test accuracy may be too high): "
        "run/near_duplicates.csv",
    ]
    assert finding_lines({"label_issues": 1}, Path("run")) == ["1 label looks wrong: run/label_issues.csv"]
    often_wrong = {"label_issues": 9, "label_issues_among": 40, "label_issues_right": 29}
    assert finding_lines(often_wrong, Path("run")) == [
        "9 labels look wrong to heads that are right on 72.5 % alone, which may be their mistakes: "
        "run/label_issues.csv"
    ]
    assert finding_lines({**often_wrong, "label_issues_right": 30}, Path("run")) == [
        "9 labels look wrong: run/label_issues.csv"
    ]
    assert finding_lines({}, Path("run")) == []
    page = report(found).read_text()
    assert f"{issues} of 121 labels look wrong" in page
    assert "1 pair of images that show nearly the same is of a test image" in page
    for name, pictures in ((LABEL_ISSUES, 1), (NEAR_DUPLICATES, 2)):
        assert (found / "plots" / f"{name}.png").is_file()
        read = read_findings(found, name)
        assert read is not None
        assert read.pictures.shape[:2] == (min(10, len(read.rows)), pictures)
    assert read_findings(found, "nothing") is None


def test_more_images_than_are_compared_are_said(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
    monkeypatch.setattr(module, "similarities_on", lambda *_: None)
    monkeypatch.setattr("tlcl.jobs.findings.MOST_IMAGES", 100)
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("tlcl.jobs.findings.log.info", lambda text, *values: lines.append(text % values))
        path = run_in(tmp_path, folder, "optim.head=new", "trainer.epochs=1")
    assert lines == ["near duplicates are looked for among up to 100 images; there are 152"]
    assert not (path / "near_duplicates.csv").exists()
    assert "near_duplicates" not in summary(path)
    assert "label_issues" not in summary(path)  # without a fitted head there are no answers of folds


def test_a_head_that_guesses_calls_no_label_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlcl.jobs.job.render", lambda path: path / "report.html")
    monkeypatch.setattr(module, "similarities_on", lambda *_: None)
    lines: list[str] = []
    monkeypatch.setattr("tlcl.jobs.findings.log.info", lambda text, *values: lines.append(text % values))
    random = np.random.default_rng(3)
    for part, count in (("train", 30), ("test", 4)):
        for number in range(count):
            path = tmp_path / "photos" / part / CLASSES[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(random, 0).save(path)
    run = run_in(tmp_path, tmp_path / "photos", "trainer.epochs=1", "data.val_size=6")
    assert "label_issues" not in summary(run)
    assert not (run / "label_issues.csv").exists()
    assert any(line.startswith("wrong labels are not looked for: the cross-validated head") for line in lines)
