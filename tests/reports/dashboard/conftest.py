"""Records of a few runs, made up."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tlcl.tracking.finished_run import FinishedRun, read_run

EVIL = "<script>alert(1)</script>"


def record(path: Path, *, name: str = "finetune", finished: bool = True, **config: Any) -> Path:
    """A run's records by hand: three epochs, and in the end a test accuracy that the depth tells."""
    path.mkdir(parents=True)
    depth = config.get("thaw", {}).get("depth", 0)
    about = {"name": name, "seed": 0, "trainer": {"epochs": 3}, "logger": {"name": "none"}, "thaw": {}, **config}
    (path / "config.yaml").write_text(yaml.safe_dump(about))
    (path / "environment.json").write_text("{}")
    lines = [
        {"epoch": epoch, "train/loss": 1 / (epoch + 1), "val/acc": 0.5 + 0.1 * epoch, "lr/head": 0.1,
         "trainable": ["head"] * (1 + depth)}
        for epoch in range(3)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        summary = {
            "status": "complete",
            "test_acc": 0.7 + depth / 100,
            "train_size": 50,
            "selected": {"val_acc": 0.7},
        }
        (path / "summary.json").write_text(json.dumps(summary))
        (path / "report.html").write_text("")
    return path


def write_runs(root: Path) -> Path:
    """A sweep of three runs, one that is not finished, and what is none; returns their folder."""
    for depth in (0, 2, 5):
        record(root / "sweeps" / "grid" / str(depth), thaw={"depth": depth})
    record(root / "odd" / EVIL.replace("/", "∕"), name=EVIL, finished=False)
    (root / "sweeps" / "grid" / "0" / "wandb" / "files").mkdir(parents=True)
    (root / "sweeps" / "grid" / "0" / "wandb" / "files" / "environment.json").write_text("{}")
    (root / "broken").mkdir()
    (root / "broken" / "environment.json").write_text("{}")
    return root


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs")


def loaded(root: Path) -> list[FinishedRun]:
    """The runs of the sweep."""
    return [run for path in ("0", "2", "5") if (run := read_run(root / "sweeps" / "grid" / path)) is not None]
