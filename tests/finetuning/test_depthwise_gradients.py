"""Gradients of depthwise convolutions in float32 under bfloat16 autocast: where, and what they are."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed
from tlcl.config.parse import parse_config
from tlcl.finetuning.depthwise_gradients import DepthwiseGradients, DepthwisePrecision, slow_in_bfloat16
from tlcl.finetuning.trainer import build_trainer


def images(channels: int = 8) -> Tensor:
    return torch.randn(3, channels, 9, 9, generator=torch.Generator().manual_seed(0))


def convolution(kernel: int, stride: int, groups: int = 8, **others: object) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=groups, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (5, 2), (7, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_float32_on_the_same_rounded_inputs(kernel: int, stride: int, bias: bool) -> None:
    conv = convolution(kernel, stride, bias=bias)
    x = images().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        plain = conv(x)
        with DepthwiseGradients():
            ours = conv(x)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, plain)
    outer = torch.randn_like(ours)
    found = torch.autograd.grad(ours, [x, *conv.parameters()], outer)

    exact = convolution(kernel, stride, bias=bias).double()
    rounded = x.detach().bfloat16().double().requires_grad_()
    wanted = torch.autograd.grad(exact(rounded), [rounded, *exact.parameters()], outer.double())
    torch.testing.assert_close(found[0].double(), wanted[0].bfloat16().double(), rtol=0.01, atol=1e-3)
    for one, reference in zip(found[1:], wanted[1:], strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), reference, rtol=1e-4, atol=1e-4)  # bfloat16 rounds at 4e-3


@pytest.mark.parametrize(
    ("conv", "slow"),
    [
        (convolution(5, 1), True),
        (convolution(3, 2), True),
        (convolution(3, 1), False),  # its kernels are fast
        (convolution(5, 2, groups=1), False),
        (convolution(5, 2, groups=4), False),
        (nn.Conv2d(8, 16, 3, 2, groups=8), True),  # two outputs a channel
    ],
)
def test_only_strided_and_large_depthwise_ones_are_slow(conv: nn.Conv2d, slow: bool) -> None:
    given = images(), conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    with torch.autocast("cpu", torch.bfloat16):
        assert (slow_in_bfloat16(*given) is not None) == slow
        with torch.no_grad():
            assert slow_in_bfloat16(*given) is None
    with torch.autocast("cpu", torch.float16):
        assert slow_in_bfloat16(*given) is None
    assert slow_in_bfloat16(*given) is None


def test_frozen_weights_and_frozen_inputs_have_no_gradient() -> None:
    conv = convolution(5, 2)
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
