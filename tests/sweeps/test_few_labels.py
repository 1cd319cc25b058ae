"""Ready-made splits with few target labels: reading them, the grid of trainings, the table and the report."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from tests.conftest import go
from tlcl.adaptation.pairs import HIDDEN
from tlcl.config.compose import composed_config
from tlcl.config.kinds import kind_of
from tlcl.config.parse import parse_config
from tlcl.data.sources.few_label_splits import FewLabelSplitsConfig, find_splits, load_split
from tlcl.errors import Interrupted, TrainingError, UserError
from tlcl.reports.few_labels import compared, tables
from tlcl.reports.tables.few_labels import differences, published, read_cells, rows_of
from tlcl.sweeps import few_labels

RAW = "ccsa distances=raw"  # what the experiment compares
pytestmark = pytest.mark.usefixtures("undrawn")


def arrays(shots: int, seed: int) -> dict[str, np.ndarray]:
    """Three classes, bars at three places: 60 source images, `shots` target images a class and 30 test images."""
    random = np.random.default_rng(seed)
    made = {}
    for part, count, bright in (("source", 60, 250), ("target", 3 * shots, 140), ("test", 30, 140)):
        labels = np.arange(count) % 3
        images = random.integers(0, 20, (count, 16, 16))
        for image, label in zip(images, labels, strict=True):
            image[:, 5 * label : 5 * label + 5] += bright - 20
        made |= {
            f"{part}_images_{shots}": images.astype(np.uint8),
            f"{part}_labels_{shots}": labels.astype(np.uint8),
        }
    return made


def write_splits(root: Path, repetitions: int = 2, shots: tuple[int, ...] = (1, 3)) -> Path:
    root.mkdir()
    for direction in ("mnist_to_usps", "usps_to_mnist"):
        for repetition in range(repetitions):
            made: dict[str, np.ndarray] = {}
            for number in shots:
                made |= arrays(number, 10 * repetition + number)
            np.savez(root / f"{direction}_rep{repetition}.npz", **made)
    (root / "README.md").write_text("passed over")
    return root


def composed(tmp_path: Path, *overrides: str) -> Any:
    fast = ["trainer.epochs=2", "trainer.accelerator=cpu", "trainer.progress=false", "data.batch_size=32"]
    config = composed_config(["+experiment=adapt_ccsa", f"data.root={tmp_path / 'splits'}", *fast, *overrides])
    config.run_dir, config.cache_dir = str(tmp_path / "run"), str(tmp_path / "cache")
    return config


def one_method(tmp_path: Path, method: str, *overrides: str) -> Any:
    return composed(tmp_path, f"adaptation={method}", "~compare", *overrides)


def splits_config(root: Path, **keys: Any) -> FewLabelSplitsConfig:
    return FewLabelSplitsConfig(source="few_label_splits", root=str(root), **keys)


def test_finds_every_split_or_the_chosen_ones(tmp_path: Path) -> None:
    root = write_splits(tmp_path / "splits", repetitions=3)
    found = find_splits(splits_config(root))
    assert len(found) == 2 * 3 * 2
    assert [place[:4] for place in found[:4]] == [
        ("mnist", "usps", 0, 1), ("mnist", "usps", 1, 1), ("mnist", "usps", 2, 1), ("mnist", "usps", 0, 3)
    ]  # fmt: skip
    some = find_splits(splits_config(root, shots=[3], repetitions=[2, 0]))
    assert [place[2:4] for place in some] == [(0, 3), (2, 3)] * 2


def test_loads_a_split_as_it_is(tmp_path: Path) -> None:
    place = find_splits(splits_config(write_splits(tmp_path / "splits")))[2]
    split, stored = load_split(place), np.load(place.path)
    for part in ("source", "target", "test"):
        images = getattr(split, part)
        assert np.array_equal(images.images[:, 0].numpy(), stored[f"{part}_images_3"])
        assert np.array_equal(images.labels.numpy(), stored[f"{part}_labels_3"])
        assert images.classes == ("0", "1", "2")


def test_counts_test_images_that_are_also_labelled(tmp_path: Path) -> None:
    root = write_splits(tmp_path / "splits")
    path = root / "mnist_to_usps_rep0.npz"
    made = dict(np.load(path))
    made["test_images_3"][[4, 7]] = made["target_images_3"][0]
    np.savez(path, **made)
    seen = load_split(find_splits(splits_config(root, shots=[3]))[0]).seen()
    assert seen.nonzero().squeeze(1).tolist() == [4, 7]


def damage(root: Path, key: str, value: np.ndarray | None) -> None:
    path = root / "mnist_to_usps_rep0.npz"
    made = dict(np.load(path))
    made.pop(key)
    np.savez(path, **(made if value is None else {**made, key: value}))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("test_labels_1", None, "has no test_labels_1"),
        ("target_images_1", np.zeros((3, 16, 16), np.float32), "target_images_1 in .* must be uint8"),
        ("source_labels_1", np.zeros(60, np.float32), "source_labels_1 in .* must be whole numbers"),
        ("target_labels_1", np.array([0, 1, 3]), "1 labels a class: labels must lie in 0..2"),
        ("test_labels_1", np.arange(7) % 3, "labels must be int64"),
    ],
)
def test_a_bad_array_is_one_sentence(tmp_path: Path, key: str, value: np.ndarray | None, sentence: str) -> None:
    root = write_splits(tmp_path / "splits", repetitions=1, shots=(1,))
    damage(root, key, value)
    with pytest.raises(UserError, match=sentence):
        load_split(find_splits(splits_config(root))[0])


def test_a_bad_folder_or_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.* is no folder"):
        find_splits(splits_config(tmp_path / "none"))
    with pytest.raises(UserError, match="holds no splits"):
        find_splits(splits_config(tmp_path))
    root = write_splits(tmp_path / "splits")
    with pytest.raises(UserError, match=r"data\.shots=\[2\]: .* has 1, 3, not 2"):
        find_splits(splits_config(root, shots=[2]))
    with pytest.raises(UserError, match=r"data\.repetitions=\[\]"):
        find_splits(splits_config(root, repetitions=[]))
    (root / "mnist_to_usps_rep0.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="cannot be read as an npz file"):
        find_splits(splits_config(root))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.train_size=5"], "data.train_size=5"),
        (["data.val_size=5"], "data.val_size=5"),
        (["adaptation=ccsa"], "needs either one method"),
        (["data@source=digits"], "leave out source"),
        (["trainer.devices=2"], "trainer.devices=2"),
        (
            ["compare.methods=['ccsa validator=source_entropy']", "trainer.select=best"],
            "set adaptation.validator=last",
        ),
        (["compare.methods=[ccca]"], "'ccca'"),
        (["data.shot=[1]"], "data.shot"),
    ],
)
def test_bad_config_is_one_sentence(tmp_path: Path, overrides: list[str], sentence: str) -> None:
    write_splits(tmp_path / "splits", repetitions=1)
    wanted = re.escape(sentence)
    if overrides == ["data.shot=[1]"]:
        config = composed(tmp_path)
        config.data.shot = [1]
    else:
        config = composed(tmp_path, *overrides)
    with pytest.raises(UserError, match=wanted):
        few_labels.planned_trainings(parse_config(config), tmp_path)


def test_one_method_or_several(tmp_path: Path) -> None:
    (one,) = few_labels.planned_trainings(parse_config(one_method(tmp_path, "ccsa", "seed=3")), tmp_path)
    assert one[:2] == ("ccsa", 3)
    several = few_labels.planned_trainings(parse_config(composed(tmp_path, "compare.seeds=[0,5]")), tmp_path)
    assert [planned[:2] for planned in several] == [(RAW, 0), ("fine_tune", 0), (RAW, 5), ("fine_tune", 5)]
    assert [planned[2].seed for planned in several] == [0, 0, 5, 5]
    config = one_method(tmp_path, "ccsa")
    config.adaptation = None
    with pytest.raises(UserError, match="needs either one method"):
        few_labels.planned_trainings(parse_config(config), tmp_path)


def test_other_jobs_do_not_take_the_splits(tmp_path: Path) -> None:
    from tlcl.data.sources.registry import load_source

    with pytest.raises(UserError, match="adapt_ccsa"):
        load_source(splits_config(tmp_path), str(tmp_path))


def test_a_method_without_target_labels_sees_none(tmp_path: Path) -> None:
    write_splits(tmp_path / "splits", repetitions=1)
    place = find_splits(splits_config(tmp_path / "splits"))[0]
    labels = {}
    for method in ("source_only", "ccsa"):
        config = parse_config(one_method(tmp_path, method))
        labels[method] = few_labels.paired(load_split(place), config).domains[1].labels
    assert labels["source_only"].tolist() == [HIDDEN] * 3
    assert labels["ccsa"].tolist() == [0, 1, 2]


def test_runs_every_cell_once_and_writes_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies in its third cell resumes there, and the same cell trained anew gives the same figure."""
    write_splits(tmp_path / "splits")
    config = composed(tmp_path, "trainer.epochs=8")
    assert kind_of(config).job == few_labels.__name__
    original, trained = few_labels.run_cell, list[tuple[str, int]]()

    def counted(config: Any, split: Any, folder: Path, device: torch.device) -> dict[str, Any]:
        trained.append((config.adaptation.name, config.adaptation.target_labels))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return original(config, split, folder, device)

    monkeypatch.setattr(few_labels, "run_cell", counted)
    with pytest.raises(Interrupted):
        go(config, few_labels.run)
    assert len(read_cells(tmp_path / "run")) == 2
    path = go(config, few_labels.run)
    assert len(trained) == 2 * 2 * 2 * 2 + 1
    assert trained[:2] == [("ccsa", 1), ("fine_tune", 1)]
    assert trained[-1] == ("fine_tune", 3)

    cells = read_cells(path)
    rows = list(csv.DictReader((path / "few_labels.csv").open()))
    assert [(row["source"], row["shots"], row["method"], row["runs"]) for row in rows][:4] == [
        ("mnist", "1", RAW, "2"), ("mnist", "1", "fine_tune", "2"),
        ("mnist", "3", RAW, "2"), ("mnist", "3", "fine_tune", "2"),
    ]  # fmt: skip
    mine = [c["test_acc"] for c in cells if (c["source"], c["shots"], c["method"]) == ("mnist", 3, RAW)]
    assert float(rows[2]["accuracy"]) == pytest.approx(np.mean(mine))
    assert float(rows[2]["accuracy_std"]) == pytest.approx(np.std(mine, ddof=1))
    assert float(rows[2]["published"]) == 0.901
    assert float(rows[2]["accuracy"]) > 0.8  # bars are easy
    summary = json.loads((path / "summary.json").read_text())
    assert summary["status"] == "complete"
    assert (len(summary["table"]), summary["stopped"]) == (8, {})
    page = (path / "report.html").read_text()
    assert ", seed 0" not in page.partition("</h1>")[2][:300]  # it is of several
    assert "ccsa, published" in page
    assert page.count("mean ± standard deviation over 2 runs") == 2
    assert page.count("ccsa distances=raw less fine_tune, points") == 2
    assert "data:image/png" in page
    again = few_labels.run_cell(
        parse_config(one_method(tmp_path, "ccsa", "adaptation.distances=raw", "trainer.epochs=8")),
        load_split(find_splits(splits_config(tmp_path / "splits", shots=[1]))[0]), path, torch.device("cpu"),
    )  # fmt: skip
    assert again["test_acc"] == cells[0]["test_acc"]


def test_a_cell_that_diverges_is_named_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_splits(tmp_path / "splits", repetitions=1, shots=(1,))
    original = few_labels.run_cell

    def diverges(config: Any, *others: Any) -> dict[str, Any]:
        if config.adaptation.name == "ccsa":
            raise TrainingError("the training loss is not finite")
        return original(config, *others)

    monkeypatch.setattr(few_labels, "run_cell", diverges)
    path = go(composed(tmp_path), few_labels.run)
    summary = json.loads((path / "summary.json").read_text())
    assert list(summary["stopped"]) == [
        f"{pair}_rep0_n1_ccsa_distances=raw_seed0" for pair in ("mnist_to_usps", "usps_to_mnist")
    ]
    assert {row["method"] for row in summary["table"]} == {"fine_tune"}
    assert "not finite" in (path / "report.html").read_text()
    monkeypatch.setattr(few_labels, "run_cell", original)
    go(composed(tmp_path), few_labels.run)
    assert len(read_cells(path)) == 4


def test_figures_of_the_table() -> None:
    cell = {"source": "mnist", "target": "usps", "shots": 3, "method": "ccsa", "seen": 2, "seconds": 1.0}
    cells = [{**cell, "test_acc": a, "unseen_acc": a - 0.01} for a in (0.8, 0.9)]
    (row,) = rows_of(cells)
    assert (row["runs"], row["published"]) == (2, 0.901)
    assert row["accuracy"] == pytest.approx(0.85)
    assert row["accuracy_std"] == pytest.approx(0.1 / 2**0.5)
    assert row["unseen_accuracy"] == pytest.approx(0.84)
    assert tables([row], [])[0]["gap"] == pytest.approx(0.01)
    assert published("mnist", "usps", 3, "ccsa margin=2") == 0.901
    assert published("mnist", "usps", 2, "ccsa") is None
    assert published("mnist", "usps", 3, "fine_tune") is None


def test_differences_are_paired_by_repetition() -> None:
    """By scipy's paired test of means over seeds; what one method lacks does not count, nor another direction."""
    ours, theirs = [0.91, 0.94, 0.9, 0.93], [0.8, 0.88, 0.83, 0.8]
    cell = {"source": "mnist", "target": "usps", "shots": 3, "seed": 0}
    cells = [
        {**cell, "method": method, "repetition": number, "test_acc": value}
        for method, values in (("ccsa", ours), ("fine_tune", theirs)) for number, value in enumerate(values)
    ]  # fmt: skip
    cells = [{**one, "seed": seed, "test_acc": one["test_acc"] + shift} for one in cells
             for seed, shift in ((0, 0.02), (1, -0.02))]  # fmt: skip
    cells += [{**cell, "method": "ccsa", "repetition": 4, "test_acc": 0.1},
              {**cells[0], "source": "usps", "target": "mnist"}]  # fmt: skip
    found = differences(cells, {"ccsa": "fine_tune"})
    assert list(found) == [("mnist", "usps", "ccsa")]
    pair, expected = found["mnist", "usps", "ccsa"][3], ttest_rel(ours, theirs)
    assert (pair.pairs, pair.difference) == (4, pytest.approx(np.mean(ours) - np.mean(theirs)))
    assert (pair.low, pair.high) == pytest.approx(expected.confidence_interval(0.95))
    assert pair.p == pytest.approx(expected.pvalue)
    assert compared(cells)["mnist", "usps"][0]["words"][3] == ("+9.2 (+4.0 to +14.5)", True)


def test_splits_that_changed_in_between_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells on a split must all be on the same one: killed after the first, and another file in its place."""
    root = write_splits(tmp_path / "splits", repetitions=1, shots=(1,))
    config, original, trained = composed(tmp_path, "trainer.epochs=1"), few_labels.run_cell, list[int]()

    def counted(*given: Any) -> dict[str, Any]:
        trained.append(1)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(few_labels, "run_cell", counted)
    with pytest.raises(Interrupted):
        go(config, few_labels.run)
    few_labels.loaded.cache_clear()
    np.savez(root / "mnist_to_usps_rep0.npz", **arrays(1, 99))
    with pytest.raises((TrainingError, UserError), match="began on other data"):
        go(config, few_labels.run)
