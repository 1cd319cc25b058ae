"""For the tests of whole continual runs: small ones of three tasks, how they die, and what must be equal."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from tests import conftest
from tests.conftest import composed
from tlcl.jobs.continual import run
from tlcl.tracking.records import RunDirectory

TASKS = [
    "continual=class_incremental", "continual.classes_per_task=[4,3,3]", "trainer.epochs=2", "trainer.select=last",
    "model.input_size=16", "thaw.depth=5", "data.batch_size=16", "optim.schedule=constant", "optim.momentum=0.5",
]  # fmt: skip
SMALL = {
    "ewc": ["method.fisher_images=4"],
    "online_ewc": ["method.fisher_images=4"],
    "icarl": ["method.buffer_size=20"],
    "ranpac": ["method.projection=40"],
}


def configured(path: Path, method: str, *overrides: str) -> DictConfig:
    return composed(path, *TASKS, f"method={method}", *SMALL.get(method, []), *overrides)


def go(config: DictConfig, job: Callable[[DictConfig, RunDirectory], dict] = run) -> Path:
    return conftest.go(config, job)


class Killed(Exception):
    pass


def kill_at_call(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """Die at the `number`-th call (from 0) of a method, once."""
    original, calls = getattr(owner, name), iter(range(10**6))

    def wrapper(*arguments: object, **options: object) -> object:
        if next(calls) == number:
            monkeypatch.setattr(owner, name, original)
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapper)


def same_results(first: Path, second: Path) -> None:
    for name in ("accuracy_matrix.json", "accuracy_matrix.csv", "metrics.jsonl", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, two = (np.load(path / "test_predictions.npz")["probabilities"] for path in (first, second))
    assert np.array_equal(one, two)
