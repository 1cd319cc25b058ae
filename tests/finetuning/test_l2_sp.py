"""L2-SP against its formula, its gradient, and a run that is killed and resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import composed, go, refusal
from tests.finetuning.test_thaw import make
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning
from tlcl.config.parse import parse_config
from tlcl.data.datamodule import Batch
from tlcl.finetuning.l2_sp import StartingPoint, l2_sp
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.thaw import set_trainable

SMALL = ["model=small_cnn", "optim.l2_sp=0.3"]


def test_penalty_and_gradient_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (5,))]
    weights = [(one + torch.randn(one.shape, generator=generator, dtype=torch.float64)) for one in start]
    for one in weights:
        one.requires_grad_()
    found = l2_sp(weights, start, 0.3)
    distance = np.concatenate([(w.detach() - s).numpy().ravel() for w, s in zip(weights, start, strict=True)])
    assert found.item() == pytest.approx(0.15 * np.linalg.norm(distance) ** 2, rel=1e-12)
    found.backward()
    for one, origin in zip(weights, start, strict=True):
        torch.testing.assert_close(one.grad, 0.3 * (one.detach() - origin))


def test_the_training_loss_pulls_trained_blocks_alone_and_never_the_head(tmp_path: Path) -> None:
    _, module, data = make(tmp_path, *SMALL)
    net = module.net
    start = StartingPoint(net)
    set_trainable(net, frozenset({"layer3", "head"}))
    assert start.penalty(0.3) == 0
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1
    count = sum(parameter.numel() for parameter in net.block("layer3").parameters())
    assert start.penalty(0.3).item() == pytest.approx(0.15 * 0.01 * count, rel=1e-4)
    images, labels = data.source.pool.images[:8], data.source.pool.labels[:8]
    batch = Batch(images, labels, labels)
    module.log = lambda *_, **__: None  # type: ignore[assignment]
    plain = module.answer(batch)[1]
    pulled = module.training_step(batch, 0)
    assert pulled.item() == pytest.approx(plain.item() + 0.15 * 0.01 * count, rel=1e-6)


def test_weight_decay_is_left_to_the_head(tmp_path: Path) -> None:
    config, module, _ = make(tmp_path, *SMALL, "optim.weight_decay=0.01")
    groups = build_optimizer(module.net, config.optim).param_groups
    decays = {group["name"]: group["weight_decay"] for group in groups}
    assert decays.pop("head") == 0.01
    assert set(decays.values()) == {0.0}


def test_a_resumed_run_is_pulled_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    keys = [*SMALL, "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3,layer2]", "trainer.epochs=4"]
    go(composed(tmp_path / "whole", *keys))
    config = composed(tmp_path / "cut", *keys)
    kill_at_batch(monkeypatch, 3, 1)  # layer3 has moved by then
    with pytest.raises(Killed):
        go(config)
    go(config)
    same_finetuning(tmp_path / "whole" / "run", tmp_path / "cut" / "run")
    go(composed(tmp_path / "free", *keys, "optim.l2_sp=0"))
    other = (tmp_path / "free" / "run" / "model.safetensors").read_bytes()
    assert other != (tmp_path / "whole" / "run" / "model.safetensors").read_bytes()


def test_other_jobs_refuse_it(tmp_path: Path) -> None:
    stream = ["continual=class_incremental", "method=naive", "trainer.select=last", "optim.l2_sp=0.1"]
    sentence = refusal(lambda: parse_config(composed(tmp_path, *stream)))
    assert sentence is not None
    assert "optim.l2_sp=0.1" in sentence
