"""The grid's table: cells, means and the best depth, from records alone."""

import csv
import json
from pathlib import Path

import pytest

from tlcl.tracking.sweep_plots import depth_curves, depth_heatmap
from tlcl.tracking.sweep_table import Cell, best_depths, read_cells, write_grid


def fake_run(
    root: Path, depth: int | None, size: int, seed: int, accuracy: float, status: str = "complete"
) -> Path:
    path = root / f"{depth}_{size}_{seed}"
    path.mkdir()
    path.joinpath("config.yaml").write_text(f"thaw: {{depth: {'null' if depth is None else depth}}}\n")
    summary = {"status": status, "train_size": size, "test_acc": accuracy, "seconds": 1.0 + seed}
    path.joinpath("summary.json").write_text(json.dumps(summary))
    return path


def test_cells_are_finished_runs_of_one_depth_and_size(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path, 1, 50, 0, 0.5),
        fake_run(tmp_path, 1, 50, 1, 0.7),
        fake_run(tmp_path, 0, 50, 0, 0.6),
        fake_run(tmp_path, 0, 200, 0, 0.8),
        fake_run(tmp_path, 2, 50, 0, 0.9, status="running"),
        fake_run(tmp_path, None, 50, 2, 0.9),  # milestones: not a place in the grid
        tmp_path / "not there",
    ]
    cells = read_cells(runs)
    assert cells == [Cell(0, 50, [0.6], [1.0]), Cell(0, 200, [0.8], [1.0]), Cell(1, 50, [0.5, 0.7], [1.0, 2.0])]
    write_grid(tmp_path, cells)
    with open(tmp_path / "grid.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["depth"], row["train_size"], row["runs"]) for row in rows] == [
        ("0", "50", "1"), ("0", "200", "1"), ("1", "50", "2"),
    ]  # fmt: skip
    assert float(rows[2]["test_acc"]) == pytest.approx(0.6)
    assert float(rows[2]["test_acc_std"]) == pytest.approx(2**0.5 / 10)
    assert rows[0]["test_acc_std"] == ""


def test_best_depth_trains_least_among_equals() -> None:
    cells = [Cell(0, 50, [0.6], []), Cell(1, 50, [0.6], []), Cell(0, 200, [0.1], []), Cell(3, 200, [0.2, 0.4], [])]
    assert best_depths(cells) == {50: 0, 200: 3}


def test_every_cell_is_written_in_the_heat_map() -> None:
    cells = [Cell(depth, size, [0.5 + depth / 10, 0.5], []) for depth in (0, 2) for size in (50, 200)]
    figure = depth_heatmap(cells)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"50.0\n± 0.0", "60.0\n± 14.1"}
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["50", "200"]
    lines = depth_curves(cells).axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[0, 2], [0, 2]]
