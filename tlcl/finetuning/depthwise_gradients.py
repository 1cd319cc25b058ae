"""Gradients of depthwise convolutions in float32, where a processor trains in bfloat16.

oneDNN has no fast bfloat16 kernel for the gradients of depthwise convolutions with a stride or with a kernel above
3x3: it takes a reference one, up to 100 times slower than float32's. Everything else is faster in bfloat16.
`python -m benchmarks.depthwise` measures both.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class _Convolution(torch.autograd.Function):
    """conv2d of a bfloat16 image batch; all of its gradients computed in float32."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int],
        dilation: list[int], groups: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight)
        ctx.biases = None if bias is None else list(bias.shape)
        ctx.geometry = stride, padding, dilation, False, [0, 0], groups
        narrow = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        return torch.ops.aten.convolution(x, *narrow, *ctx.geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        by_input, by_weight, by_bias = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), ctx.biases, *ctx.geometry, wanted
        )
        narrow = by_input.to(x.dtype) if wanted[0] else None
        return (narrow, by_weight, by_bias, None, None, None, None)


class DepthwiseGradients(TorchFunctionMode):
    """While open, the gradients of those convolutions that are slow in bfloat16 are computed in float32.

    Their outputs are those of autocast, bit for bit. It changes nothing outside a bfloat16 autocast on a CPU, or
    where no gradient is wanted.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        named = dict(kwargs or {})
        if func is torch.conv2d and (given := slow_in_bfloat16(*args, **named)) is not None:
            return _Convolution.apply(*given)
        return func(*args, **named)


def slow_in_bfloat16(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
) -> tuple[Any, ...] | None:  # fmt: skip
    """What `_Convolution` takes, of the arguments of `torch.conv2d`; None where bfloat16 is as good."""
    stride, dilation = _two(stride), _two(dilation)
    if isinstance(padding, str) or input.ndim != 4 or input.device.type != "cpu":
        return None
    bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    learns = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    depthwise = groups == input.shape[1] > 1
    if not (bfloat16 and learns and depthwise and (max(stride) > 1 or max(weight.shape[2:]) > 3)):
        return None
    return input.to(torch.bfloat16), weight, bias, stride, _two(padding), dilation, groups


def _two(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else [*value] * (2 // len(value))


class DepthwisePrecision(MixedPrecision):
    """Lightning's mixed precision in bfloat16 on a CPU, with `DepthwiseGradients`."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @contextmanager
    def forward_context(self) -> Generator[None, None, None]:
        """Around each step, as Lightning's."""
        with super().forward_context(), DepthwiseGradients():
            yield
