"""For the tests of whole runs: small continual ones of three tasks, how runs die, and what must be equal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import composed
from tlcl.finetuning.module import FinetuningModule
from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.records import read_lines

TASKS = [
    "continual=class_incremental", "continual.classes_per_task=[4,3,3]", "trainer.epochs=2", "trainer.select=last",
    "model.input_size=16", "thaw.depth=4", "data.batch_size=16", "optim.schedule=constant", "optim.momentum=0.5",
]  # fmt: skip
SMALL = {
    "ewc": ["method.fisher_images=4"],
    "online_ewc": ["method.fisher_images=4"],
    "icarl": ["method.buffer_size=20"],
    "ranpac": ["method.projection=40"],
}


def configured(path: Path, method: str, *overrides: str) -> DictConfig:
    return composed(path, *TASKS, f"method={method}", *SMALL.get(method, []), *overrides)


class Killed(Exception):
    """In the place of a SIGKILL."""


def kill_at_call(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """Die at the `number`-th call (from 0) of a method, once."""
    original, calls = getattr(owner, name), iter(range(10**6))

    def wrapper(*arguments: object, **options: object) -> object:
        if next(calls) == number:
            monkeypatch.setattr(owner, name, original)
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapper)


def kill_at_batch(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """Die in the middle of an epoch of a fine-tuning, once."""
    original = FinetuningModule.training_step

    def step(self: FinetuningModule, data: object, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (epoch, batch):
            monkeypatch.setattr(FinetuningModule, "training_step", original)
            raise Killed
        return original(self, data, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(FinetuningModule, "training_step", step)


def summary(path: Path) -> dict[str, Any]:
    """`summary.json` of a run."""
    found: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return found


def predictions(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `test_predictions.npz`."""
    with np.load(path / "test_predictions.npz") as stored:
        return dict(stored)


def same_finetuning(first: Path, second: Path) -> None:
    """Weights, figures and the state of the optimiser are equal to the bit."""
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert read_lines(first / "metrics.jsonl") == read_lines(second / "metrics.jsonl")
    one, two = (json.loads((path / "summary.json").read_text()) for path in (first, second))
    for key in ("test_acc", "test_loss", "selected", "best", "last", "model_sha256"):
        assert one[key] == two[key]
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (first, second))
    for key, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][key])
    states = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(states[1][index][k])) for k, v in state.items())


def same_continual(first: Path, second: Path) -> None:
    """Files of figures and weights, and the probabilities of all test images, are equal to the bit."""
    for name in ("accuracy_matrix.json", "accuracy_matrix.csv", "metrics.jsonl", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, two = (np.load(path / "test_predictions.npz")["probabilities"] for path in (first, second))
    assert np.array_equal(one, two)
