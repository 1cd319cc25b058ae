"""The record says where the time of each epoch went."""

import json
import time
from pathlib import Path

import pytest
from torch import nn

from tests.conftest import composed, go
from tests.jobs.conftest import Killed, configured, kill_at_batch, kill_at_call
from tlcl.continual.loop import TaskLoop
from tlcl.jobs.finetune import run
from tlcl.tracking.checkpoint import LastCheckpoint
from tlcl.tracking.records import CLOCK, RunDirectory, read_lines, read_object
from tlcl.tracking.timings import PARTS, Stopwatch, seconds_by_part

pytestmark = pytest.mark.usefixtures("undrawn")

SHORT = ["trainer.epochs=3", "data.crop_padding=0", "+thaw.2=[layer3]"]


def timings(tmp_path: Path, *overrides: str) -> list[dict]:
    return read_lines(go(composed(tmp_path, *SHORT, *overrides), run) / "timings.jsonl")


def test_parts_are_within_the_epoch(tmp_path: Path) -> None:
    lines = timings(tmp_path)
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert set(PARTS) < set(line)
        assert all(line[part] >= 0 for part in PARTS)
        assert sum(line[part] for part in PARTS) <= line["seconds"] + 0.01
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["seconds_by_part"] == seconds_by_part(lines)
    whole = sum(line["seconds"] for line in lines)
    assert sum(summary["seconds_by_part"].values()) == pytest.approx(whole, abs=0.05)
    assert (tmp_path / "run" / "plots" / "time.png").is_file()


def test_frozen_blocks_cost_once_with_the_cache_and_always_without(tmp_path: Path) -> None:
    cached = [line["prefix"] for line in timings(tmp_path / "cached")]
    assert cached[0] > 0
    assert cached[1:] == [0, 0]
    assert all(line["prefix"] > 0 for line in timings(tmp_path / "each", "data.cache_prefix=off"))


def test_time_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause in one part shows in that part: checkpoint, and the frozen stem of an uncached run."""
    save = LastCheckpoint._save
    monkeypatch.setattr(LastCheckpoint, "_save", lambda *a: (time.sleep(0.5), save(*a)))
    forward = nn.MaxPool2d.forward
    monkeypatch.setattr(nn.MaxPool2d, "forward", lambda *a: (time.sleep(0.1), forward(*a))[1])
    lines = timings(tmp_path, "data.cache_prefix=off")
    steps = 3
    assert all(line["checkpoint"] > 0.5 for line in lines)
    assert all(line["prefix"] > 0.1 * steps for line in lines)
    assert all(line["validation"] > 0.1 for line in lines)


def test_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.measure("data"):
            time.sleep(0.02)
    assert 0.04 <= watch.seconds["data"] < 1
    assert seconds_by_part([{"seconds": 3.0, "data": 1.0}])["between"] == 2.0


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part before took as long as its finished epochs at least; a longer one is not forgotten either."""
    config = composed(tmp_path, "model=small_cnn", "trainer.epochs=3")
    kill_at_batch(monkeypatch, 2, 0)
    with pytest.raises(Killed):
        go(config)
    path = tmp_path / "run"
    first = read_object(path / CLOCK)["seconds"]
    assert first >= sum(line["seconds"] for line in read_lines(path / "timings.jsonl")) - 0.1
    (path / CLOCK).write_text(json.dumps({"seconds": first + 1000}))
    kill_at_batch(monkeypatch, 2, 1)  # a part without a finished epoch takes nothing away
    with pytest.raises(Killed):
        go(config)
    time.sleep(0.5)  # between the parts
    began = time.perf_counter()
    go(config)
    seconds = json.loads((path / "summary.json").read_text())["seconds"]
    assert first + 1000 < seconds < first + 1000 + time.perf_counter() - began + 0.1
    assert not (path / CLOCK).exists()


def test_the_seconds_of_a_continual_run_are_those_of_all_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without epochs, too: a closed-form method is killed in its second task."""
    config = configured(tmp_path, "slda", "model=small_cnn")
    kill_at_call(monkeypatch, TaskLoop, "_train", 1)
    with pytest.raises(Killed):
        go(config)
    path = tmp_path / "run"
    (task,) = read_lines(path / "tasks.jsonl")
    assert read_object(path / CLOCK)["seconds"] >= task["seconds"] - 0.1
    (path / CLOCK).write_text(json.dumps({"seconds": 1000}))
    go(config)
    assert json.loads((path / "summary.json").read_text())["seconds"] > 1000


def test_a_damaged_clock_costs_the_seconds_before_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    for content in ("", "[]", '{"seconds": "x"}', '{"seconds": null}'):
        (tmp_path / CLOCK).write_text(content)
        directory = RunDirectory(tmp_path, resume=True)
        assert 0 <= directory.seconds < 60
        directory.close()
