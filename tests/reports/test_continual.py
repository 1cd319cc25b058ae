"""Pictures and pages of continual runs and comparisons, from records written here."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tlcl.config.kinds import NAMED
from tlcl.reports.render import render
from tlcl.reports.tables.compare import read_table, write_table
from tlcl.reports.tables.spread import mean_std
from tlcl.tracking.accuracy_matrix import read_matrix, write_matrix
from tlcl.tracking.sweep_records import job_in

NAN = math.nan


def matrix(run_dir: Path, tasks: list[list[str]], rows: list[list[float]]) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text("continual: {scenario: class_incremental}\n")
    count = len(tasks)
    write_matrix(
        run_dir, tasks=tasks, sizes=[10] * count, rows=rows, val_rows=[], untrained=[NAN] * count, figures={}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [[0.9, NAN], [0.25, 1.0]]
    matrix(tmp_path, [["cat", "dog"], ["a,b", 'q"']], rows)
    measured = read_matrix(tmp_path)
    assert measured is not None
    np.testing.assert_array_equal(measured.matrix, rows)
    assert json.loads((tmp_path / "accuracy_matrix.json").read_text())["matrix"] == [[0.9, None], [0.25, 1.0]]
    assert read_matrix(tmp_path / "nothing") is None
    (tmp_path / "accuracy_matrix.json").write_text("{")
    assert read_matrix(tmp_path) is None


def test_page_of_an_unfinished_run_says_so_and_escapes_names(tmp_path: Path) -> None:
    rows = [[0.9, NAN, NAN], [0.4, 0.8, NAN]]
    matrix(tmp_path, [["<script>alert(1)</script>", "$x^2"], ["b", "c"], ["d", "e"]], rows)
    page = render(tmp_path).read_text()
    assert "tasks done: 2 of 3." in page
    assert "summary.json is missing" in page
    assert "<script" not in page
    assert page.count("data:image/png") == 3
    assert "60.0 %" in page  # (0.4 + 0.8) / 2: all classes so far after the second task


def test_the_page_warns_of_test_images_that_were_trained_on(tmp_path: Path) -> None:
    matrix(tmp_path, [["a"], ["b"]], [[0.9, NAN], [0.4, 0.8]])
    for count, words in ((0, ""), (1, "hold 1 test image too"), (7, "hold 7 test images too")):
        summary = {"final_accuracy": 0.6, "duplicates_train_test": count}
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        page = render(tmp_path).read_text()
        assert ("The training and validation images hold" in page) == bool(words)
        assert words in page


def test_a_hundred_tasks_are_drawn(tmp_path: Path) -> None:
    count = 100
    rows = [[0.5 if j <= i else NAN for j in range(count)] for i in range(count)]
    matrix(tmp_path, [[f"class {i}"] for i in range(count)], rows)
    render(tmp_path)
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {"cumulative", "matrix", "tasks"}


def test_a_run_without_any_task_done_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("continual: {scenario: class_incremental}\n")
    assert "not finished" in render(tmp_path).read_text()


def summary(path: Path, final: float | None, curve: list[float | None]) -> None:
    path.mkdir(parents=True)
    keys = [key for key in NAMED["continual"].compared if key != "final_accuracy"]
    content = {"status": "complete", "final_accuracy": final, "cumulative_accuracy": curve, "seconds": 2.0,
               "tasks": [["a", "b"], ["c", "d"]], **dict.fromkeys(keys, None)}  # fmt: skip
    (path / "summary.json").write_text(json.dumps(content))


def test_table_has_the_best_first_and_sample_deviations(tmp_path: Path) -> None:
    for seed, value in enumerate((0.2, 0.4)):
        summary(tmp_path / f"naive{seed}", value, [0.9, value])
    summary(tmp_path / "joint0", 0.8, [None, 0.8])
    runs = [("naive", 0), ("naive", 1), ("joint", 0), ("er", 0)]
    jobs = [job_in(tmp_path / f"{name}{seed}", tmp_path, 0, {"method": name, "seed": seed}) for name, seed in runs]
    rows = write_table(tmp_path, jobs, NAMED["continual"].compared)
    assert [row["method"] for row in rows] == ["joint", "naive", "er"]
    assert rows[1]["final_accuracy"] == pytest.approx(0.3)
    assert rows[1]["final_accuracy_std"] == pytest.approx(math.sqrt(0.02))
    assert rows[0]["final_accuracy_std"] is None
    assert (rows[2]["runs"], rows[2]["planned"], rows[2]["final_accuracy"]) == (0, 1, None)
    assert read_table(tmp_path) == rows
    (tmp_path / "config.yaml").write_text("compare: {methods: [naive]}\ncontinual: {}\n")
    page = render(tmp_path).read_text()
    assert "30.0 ± 14.1" in page
    assert "not finished" in page


def test_tasks_that_differ_between_the_seeds_are_numbered(tmp_path: Path) -> None:
    for seed, tasks in enumerate(([["a", "b"], ["c"]], [["c", "b"], ["a"]])):
        summary(tmp_path / f"naive{seed}", 0.5, [0.9, 0.5])
        known = json.loads((tmp_path / f"naive{seed}" / "summary.json").read_text())
        (tmp_path / f"naive{seed}" / "summary.json").write_text(json.dumps(known | {"tasks": tasks}))
    jobs = [job_in(tmp_path / f"naive{seed}", tmp_path, 0, {"method": "naive", "seed": seed}) for seed in (0, 1)]
    assert write_table(tmp_path, jobs, ("final_accuracy",))[0]["tasks"] == [["task 1"], ["task 2"]]
    assert write_table(tmp_path, jobs[:1], ("final_accuracy",))[0]["tasks"] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("comes", ["classes", "domains"])
def test_the_page_says_what_a_stream_brings(tmp_path: Path, comes: str) -> None:
    matrix(tmp_path, [["a"], ["b"]], [[0.9, NAN], [0.5, 0.8]])
    scenario = {"classes": "class_incremental", "domains": "domain_incremental"}[comes]
    (tmp_path / "config.yaml").write_text(f"continual: {{scenario: {scenario}}}\n")
    page = render(tmp_path).read_text()
    assert f"<th>all {comes} so far</th>" in page
    assert f"Accuracy on the test images of all {comes} so far" in page


def test_mean_and_deviation() -> None:
    assert mean_std([]) == (None, None)
    assert mean_std([None, NAN]) == (None, None)
    assert mean_std([0.5, None]) == (0.5, None)
    assert mean_std([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
