"""The table of a sweep: settings, pooled seeds and what validation chooses, against figures worked out by hand."""

import csv
from io import StringIO
from pathlib import Path

import pytest

from tests.sweeps.conftest import fake_job, fake_plan
from tlcl.reports.plots.sweep import heat_map, lines
from tlcl.reports.tables.sweep import best_of_each, chosen, csv_text, records_of, rows_of
from tlcl.tracking.sweep_records import parse_value, read_sweep, settings_of, varying


def test_values_and_keys_of_a_command_line() -> None:
    assert [parse_value(text) for text in ("50", "1e-3", "true", "null", "adamw", "'two words'")] == [
        50, 0.001, True, None, "adamw", "two words",
    ]  # fmt: skip
    assert settings_of(["+experiment=a", "thaw.depth=0", "~method", "data.train=x=y"]) == {
        "experiment": "a", "thaw.depth": 0, "method": "taken out", "data.train": "x=y",
    }  # fmt: skip
    settings = [{"a": 1, "b": 1, "seed": 0}, {"a": 1, "b": True, "seed": 1}, {"a": 1, "b": 1, "c": None, "seed": 2}]
    assert varying(settings) == ["b", "c"]  # True is not 1, and what is not given is not null


def test_seeds_are_pooled_and_every_job_is_accounted_for(tmp_path: Path) -> None:
    overrides = [
        [f"thaw.depth={depth}", f"data.train_size={size}", f"seed={seed}"]
        for depth in (0, 5) for size in (200, 50) for seed in (0, 1, 2)
    ]  # fmt: skip
    fake_plan(tmp_path, overrides)
    for number, seed, accuracy in ((0, 0, 0.5), (1, 1, 0.7), (3, 0, 0.9)):
        fake_job(tmp_path, number, overrides[number], val=accuracy - 0.1, test=accuracy, seconds=1.0 + seed)
    fake_job(tmp_path, 2, overrides[2], failed="the loss is not finite")
    sweep = read_sweep(tmp_path)
    assert (sweep.keys, sweep.planned, sweep.search) == (["thaw.depth", "data.train_size"], 12, False)
    assert [job.status for job in sweep.jobs] == ["complete", "complete", "failed", "complete", *["missing"] * 8]
    assert sweep.jobs[2].reason == "the loss is not finite"
    table = records_of(rows_of(sweep.jobs, sweep.keys))
    assert [(row["thaw.depth"], row["data.train_size"]) for row in table] == [(0, 50), (0, 200), (5, 50), (5, 200)]
    pooled = table[1]
    assert (pooled["runs"], pooled["planned"], pooled["failed"]) == (2, 3, 1)
    assert pooled["test"] == pytest.approx(0.6)
    assert pooled["test_std"] == pytest.approx(2**0.5 / 10)
    assert pooled["validation"] == pytest.approx(0.5)
    assert pooled["seconds"] == pytest.approx(1.5)
    assert table[0]["test_std"] is None
    assert (table[2]["runs"], table[2]["test"]) == (0, None)
    rows = list(csv.DictReader(StringIO(csv_text(table))))
    assert float(rows[1]["test"]) == pytest.approx(0.6)
    assert rows[2]["test"] == ""


def jobs(tmp_path: Path, figures: dict[tuple[int, int], tuple[float, float]]) -> None:
    for number, ((depth, size), (val, test)) in enumerate(figures.items()):
        fake_job(tmp_path, number, [f"thaw.depth={depth}", f"data.train_size={size}"], val=val, test=test)


def test_validation_chooses_within_each_condition_and_test_never(tmp_path: Path) -> None:
    jobs(tmp_path, {
        (0, 50): (0.6, 0.1), (1, 50): (0.6 + 1e-8, 0.9), (2, 50): (0.5, 0.99),
        (0, 200): (0.2, 0.9), (1, 200): (0.1, 0.8), (2, 200): (0.3, 0.1),
    })  # fmt: skip
    sweep = read_sweep(tmp_path)
    rows = rows_of(sweep.jobs, sweep.keys)
    # 50: a tie but for the noise of float32, so the depth that trains least
    assert [tuple(row.settings.values()) for row in chosen(rows)] == [(0, 50), (2, 200)]
    best = best_of_each(rows, ["thaw.depth"])
    assert [tuple(row.settings.values()) for row in best] == [(0, 50), (1, 50), (2, 50)]
    assert [row["chosen"] for row in records_of(rows)] == [True, False, False, False, False, True]
    only_sizes = [row._replace(settings={"data.train_size": row.settings["data.train_size"]}) for row in rows[::3]]
    assert chosen(only_sizes) == []


def test_every_cell_is_written_in_the_heat_map_and_the_chosen_one_framed(tmp_path: Path) -> None:
    number = 0
    for depth in (0, 2):
        for size in (50, 200):
            for seed in (0, 1):
                given = [f"thaw.depth={depth}", f"data.train_size={size}", f"seed={seed}"]
                fake_job(tmp_path, number, given, val=0.5 - depth / 10, test=0.5 + seed * depth / 10)
                number += 1
    sweep = read_sweep(tmp_path)
    rows = rows_of(sweep.jobs, sweep.keys)
    axes = heat_map(rows, "thaw.depth", "data.train_size").axes[0]
    assert {text.get_text() for text in axes.texts} == {"50.0\n± 0.0", "60.0\n± 14.1"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["50", "200"]
    assert sorted(round(frame.get_x()) for frame in axes.patches) == [0, 0]  # depth 0 in both rows: validation
    drawn = lines(rows, "thaw.depth").axes[0].get_lines()
    assert [list(line.get_xdata()) for line in drawn] == [[0, 2], [0, 2]]
    assert list(drawn[0].get_ydata()) == pytest.approx([0.5, 0.6])
