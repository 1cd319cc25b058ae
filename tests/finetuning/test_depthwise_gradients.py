"""Gradients of depthwise convolutions by fast kernels under bfloat16 autocast: where, and what they are."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.conftest import composed, go
from tlcl.config.parse import parse_config
from tlcl.finetuning.depthwise_gradients import (
    DepthwiseGradients,
    DepthwisePrecision,
    input_gradient,
    slow_in_bfloat16,
    weight_gradient,
)
from tlcl.finetuning.trainer import build_trainer


def images(channels: int = 8) -> Tensor:
    return torch.randn(3, channels, 9, 9, generator=torch.Generator().manual_seed(0))


def convolution(kernel: int, stride: int, groups: int = 8, **others: object) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=groups, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2), (7, 1)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("within", [True, False])
def test_gradients_are_those_of_float32_on_the_same_rounded_inputs(
    kernel: int, stride: int, bias: bool, within: bool
) -> None:
    """Whether the backward pass is inside the step's contexts, as that of a continual method is, or not."""
    conv = convolution(kernel, stride, bias=bias)
    x = images().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        plain = conv(x)
        with DepthwiseGradients():
            ours = conv(x)
            outer = torch.randn_like(ours)
            if within:
                found = torch.autograd.grad(ours, [x, *conv.parameters()], outer)
    if not within:
        found = torch.autograd.grad(ours, [x, *conv.parameters()], outer)
    assert (ours.dtype, ours.grad_fn.name()) == (torch.bfloat16, "_ConvolutionBackward")  # type: ignore[union-attr]
    assert torch.equal(ours, plain)

    exact = convolution(kernel, stride, bias=bias).bfloat16().double()
    rounded = x.detach().bfloat16().double().requires_grad_()
    wanted = torch.autograd.grad(exact(rounded), [rounded, *exact.parameters()], outer.double())
    for one, reference in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        # Rounded once: half of bfloat16's spacing.
        torch.testing.assert_close(one.double(), reference, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("kernel", [(1, 7), (4, 4), (5, 3), (6, 2), (7, 7), (9, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (2, 1), (4, 4)])
@pytest.mark.parametrize("size", [(9, 9), (12, 10)])
def test_any_kernel_stride_padding_and_size(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int]
) -> None:
    """Last positions that no window reaches, zeros behind the last one, windows that overlap."""
    draw = torch.Generator().manual_seed(2)
    x, weight = (torch.randn(shape, generator=draw).bfloat16() for shape in ((2, 4, *size), (4, 1, *kernel)))
    exact = [one.double().requires_grad_() for one in (x, weight)]
    outputs = nn.functional.conv2d(*exact, None, stride, padding, 1, 4)
    outer = torch.randn(outputs.shape, generator=draw).bfloat16()
    wanted = torch.autograd.grad(outputs, exact, outer.double())
    given = outer, x, weight, list(stride), list(padding)
    for one, reference in zip((input_gradient(*given), weight_gradient(*given)), wanted, strict=True):
        torch.testing.assert_close(one.double(), reference, rtol=2**-8, atol=1e-5)


def test_they_are_differentiated_checkpointed_and_mapped_as_torchs() -> None:
    conv, x = convolution(5, 2), images().requires_grad_()

    def loss(weight: Tensor, given: Tensor) -> Tensor:
        return nn.functional.conv2d(given, weight, None, 2, 2, 1, 8).float().square().sum()

    with torch.autocast("cpu", torch.bfloat16), DepthwiseGradients():
        kept = checkpoint(conv, x, use_reentrant=False)
        direct = conv(x)
        first = torch.autograd.grad(loss(conv.weight, x), conv.weight, create_graph=True)[0]
        twice = torch.autograd.grad(first.square().sum(), conv.weight)[0]
        mapped = torch.func.vmap(torch.func.grad(loss), (None, 0))(conv.weight.detach(), x.detach()[:, None])
    (recomputed,), (saved,) = (torch.autograd.grad(one.float().sum(), conv.weight) for one in (kept, direct))
    assert torch.equal(recomputed, saved)
    exact = conv.weight.detach().double().requires_grad_()
    outer = torch.autograd.grad(loss(exact, x.double()), exact, create_graph=True)[0]
    wanted = torch.autograd.grad(outer.square().sum(), exact)[0]
    assert float((twice.double() - wanted).norm() / wanted.norm()) < 0.02
    assert float((mapped.sum(0).double() - outer).norm() / outer.norm()) < 0.02


@pytest.mark.parametrize(
    ("conv", "slow"),
    [
        (convolution(5, 1), True),
        (convolution(3, 2), True),
        (convolution(3, 1), False),  # its kernels are fast
        (convolution(5, 2, groups=1), False),
        (convolution(5, 2, groups=4), False),
        (nn.Conv2d(8, 16, 3, 1, groups=8), True),  # two outputs a channel
        (nn.Conv2d(8, 8, 3, dilation=2, groups=8), True),
    ],
)
def test_only_strided_and_large_depthwise_ones_are_slow(conv: nn.Conv2d, slow: bool) -> None:
    given = images(), conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    with torch.autocast("cpu", torch.bfloat16):
        assert (slow_in_bfloat16(*given) is not None) == slow
        with torch.no_grad():
            assert slow_in_bfloat16(*given) is None
        assert slow_in_bfloat16(*(one.double() if isinstance(one, Tensor) else one for one in given)) is None
    with torch.autocast("cpu", torch.float16):
        assert slow_in_bfloat16(*given) is None
    assert slow_in_bfloat16(*given) is None


@pytest.mark.parametrize("two", [2, (2,), [2, 2], np.int64(2)])
def test_strides_are_given_as_torch_takes_them(two: Any) -> None:
    conv = convolution(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        plain = torch.conv2d(images(), conv.weight, conv.bias, two, 1, 1, 8)
        with DepthwiseGradients():
            ours = torch.conv2d(images(), conv.weight, conv.bias, two, 1, 1, 8)
    assert ours.grad_fn.name() == "_ConvolutionBackward"  # type: ignore[union-attr]
    assert torch.equal(ours, plain)


@pytest.mark.parametrize("dilation", [1, 2])
def test_frozen_weights_and_frozen_inputs_have_no_gradient(dilation: int) -> None:
    conv = convolution(5, 2, dilation=dilation)
    conv.weight.requires_grad_(False)
    x = images().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), DepthwiseGradients():
        conv(x).sum().backward()
        assert conv.weight.grad is None
        assert conv.bias is not None
        assert conv.bias.grad is not None
        assert x.grad is not None
        conv(images()).sum().backward()  # only the bias learns


@pytest.mark.parametrize(("precision", "ours"), [("bf16-mixed", True), ("32-true", False)])
def test_the_trainer_steps_with_them_on_a_cpu(tmp_path: Path, precision: str, ours: bool) -> None:
    config = parse_config(composed(tmp_path, "trainer.accelerator=cpu", f"trainer.precision={precision}"))
    trainer = build_trainer(config, tmp_path, [], [])
    assert isinstance(trainer.precision_plugin, DepthwisePrecision) == ours
    assert trainer.precision == precision

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = convolution(5, 2)
            self.made: list[str] = []

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            outputs = self.net(batch[0])
            self.made.append(outputs.grad_fn.name())
            return outputs.float().square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    trainer.fit_loop.max_epochs = 1
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images()), 3))
    assert module.made == ["_ConvolutionBackward" if ours else "ConvolutionBackward0"]


@pytest.mark.slow
def test_a_whole_training_is_as_accurate_as_in_float32(tmp_path: Path) -> None:
    """Real digits, three seeds, the same images in the same order: the mean differs by less than 1.5 points."""
    accuracies: dict[str, list[float]] = {"bf16-mixed": [], "32-true": []}
    for precision, found in accuracies.items():
        for seed in range(3):
            config = composed(
                tmp_path, "data=digits", "data.train_size=null", "data.batch_size=64", "model=timm",
                "model.arch=test_efficientnet", "model.weights=none", "model.input_size=32", "thaw=all",
                "optim.name=adamw", "optim.lr=0.003", "optim.block_lr_decay=1.0", "trainer.epochs=8",
                "trainer.select=last", f"trainer.precision={precision}", f"seed={seed}",
            )  # fmt: skip
            config.run_dir = str(tmp_path / f"{precision}_{seed}")
            summary = json.loads((go(config) / "summary.json").read_text())
            assert summary["precision"] == precision
            found.append(summary["test_acc"])
    assert min(accuracies["bf16-mixed"]) > 0.93
    assert np.mean(accuracies["bf16-mixed"]) == pytest.approx(np.mean(accuracies["32-true"]), abs=0.015)
