"""The moving average of the weights against its sum, and through validation, choice, kill and resume."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import composed, go, refusal
from tests.finetuning.test_thaw import make, trainer
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning
from tlcl.config.parse import parse_config
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.weight_average import WeightAverage, update_average
from tlcl.models.resnet18 import BACKBONE
from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.records import read_lines

KEYS = [
    "model.input_size=16", "thaw=milestones", "+thaw.0=[head]", "+thaw.2=[layer4]", "trainer.epochs=4",
    "optim.ema=0.8", "optim.lr=0.1",
]  # fmt: skip


def test_update_is_the_geometric_sum_and_leaves_what_stands_still() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    still = torch.randn(7, generator=generator)
    average = {"w": points[0].clone(), "still": still.clone(), "count": torch.tensor(3)}
    for step, point in enumerate(points[1:]):
        update_average(average, {"w": point, "still": still, "count": torch.tensor(step)}, 0.9)
    expected = 0.9**7 * points[0] + sum(0.1 * 0.9 ** (7 - i) * points[i] for i in range(1, 8))
    torch.testing.assert_close(average["w"], expected)
    assert torch.equal(average["still"], still)
    assert average["count"] == 6


class Steps(L.Callback):
    """The trained weights after each step, and what is there when it is validated and between epochs."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def copy(self, module: Any) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in module.net.state_dict().items()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append(self.copy(pl_module))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated.append(self.copy(pl_module))


def test_training_goes_on_as_without_and_the_average_is_validated(tmp_path: Path) -> None:
    witnesses = []
    for averaged in (False, True):
        config, module, data = make(tmp_path, *KEYS[:-2], "thaw.depth=1", "trainer.epochs=2")
        start = {key: value.clone() for key, value in module.net.state_dict().items()}
        witness = Steps()
        first = [WeightAverage(module.net, 0.8)] if averaged else []
        trainer(2, *first, Thaw(config.schedule), witness).fit(module, datamodule=data)
        witnesses.append(witness)
    plain, watched = witnesses
    for one, two in zip(plain.steps, watched.steps, strict=True):
        assert all(torch.equal(value, two[key]) for key, value in one.items())
    expected = {key: value.double() for key, value in start.items()}
    for number, step in enumerate(plain.steps, 1):
        expected = {key: 0.8 * value + 0.2 * step[key].double() for key, value in expected.items()}
        if number % (len(plain.steps) // 2) == 0:
            validated = watched.validated.pop(0)
            for key, value in validated.items():
                if value.is_floating_point():
                    torch.testing.assert_close(value.double(), expected[key], rtol=1e-4, atol=1e-5)
    assert not watched.validated


@pytest.mark.slow
@pytest.mark.parametrize("select", ["best", "last"])
def test_what_was_validated_is_kept_and_a_resumed_run_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None, select: str
) -> None:
    keys = [*KEYS, f"trainer.select={select}"]
    whole = go(composed(tmp_path / "whole", *keys))
    config = composed(tmp_path / "cut", *keys)
    for epoch, batch in ((2, 1), (3, 0)):
        kill_at_batch(monkeypatch, epoch, batch)
        with pytest.raises(Killed):
            go(config)
    same_finetuning(whole, go(config))
    last = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    trained = last["callbacks"]["WeightAverage"]["weights"]
    averaged = {key.removeprefix("net."): value for key, value in last["state_dict"].items()}
    assert any(not torch.equal(value, trained[key]) for key, value in averaged.items() if key in trained)
    if select == "last":
        model = load_file(whole / "model.safetensors")
        assert all(torch.equal(model[BACKBONE.native_key(key)], averaged[key]) for key in trained)


def test_the_average_is_another_model_than_the_last_step(tmp_path: Path, undrawn: None) -> None:
    keys = [*KEYS[:-2], "optim.lr=0.1", "trainer.select=last"]
    averaged, plain = (go(composed(tmp_path / ema, *keys, f"optim.ema={ema}")) for ema in ("0.9", "0"))
    ours, theirs = (read_lines(path / "metrics.jsonl") for path in (averaged, plain))
    assert ours[0]["train/loss"] == theirs[0]["train/loss"]
    assert ours[0]["val/loss"] != theirs[0]["val/loss"]


def test_other_jobs_and_several_processes_refuse_it(tmp_path: Path) -> None:
    stream = ["continual=class_incremental", "method=naive", "trainer.select=last"]
    for keys in (stream, ["trainer.devices=2"]):
        sentence = refusal(lambda keys=keys: parse_config(composed(tmp_path, *keys, "optim.ema=0.9")))
        assert sentence is not None
        assert "optim.ema=0.9" in sentence
