"""Sweeps for tests: the program in this process, and records without any training."""

import json
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tlcl.train import main


def train(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`tlcl train ARGUMENTS`; returns the exit code."""
    monkeypatch.setattr("sys.argv", ["tlcl train", *arguments])
    GlobalHydra.instance().clear()
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def fake_plan(root: Path, jobs: list[list[str]] | None, planned: int | None = None) -> None:
    """A sweep's plan; without jobs that of a search."""
    count = len(jobs or []) if planned is None else planned
    plan = {"name": root.name, "command": ["-m"], "overrides": [], "hydra": [], "planned": count, "jobs": jobs}
    (root / "sweep.json").write_text(json.dumps(plan))


def fake_job(
    root: Path, number: int, overrides: list[str], *, val: float = 0.0, test: float = 0.0, seconds: float = 1.0,
    failed: str | None = None,
) -> Path:  # fmt: skip
    """The records of a job that is complete, or failed."""
    path = root / str(number)
    path.mkdir(parents=True)
    (path / "job.json").write_text(json.dumps({"number": number, "overrides": overrides}))
    if failed is not None:
        (path / "failed.json").write_text(json.dumps({"kind": "training", "sentence": failed}))
        return path
    (path / "config.yaml").write_text("seed: 0\n")
    summary = {
        "status": "complete", "job": "finetune", "test_acc": test, "selected": {"val_acc": val}, "seconds": seconds,
    }  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))
    return path
