"""Gradients of depthwise convolutions in float32, where a processor trains in bfloat16.

oneDNN has no fast bfloat16 kernel for the gradients of depthwise convolutions with strides, large kernels, dilation
or several outputs a channel: it takes a reference one, many times slower than float32's. Everything else is faster
in bfloat16. `python -m benchmarks.depthwise` measures both.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.overrides import TorchFunctionMode

Ints = int | Iterable[int]


class _Convolution(torch.autograd.Function):
    """conv2d of bfloat16 tensors, as torch's, whose gradients are computed in float32 and then rounded.

    It keeps for the backward pass what torch's keeps, and can be differentiated, checkpointed and mapped as that.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple[Any, ...]) -> Tensor:
        found: Tensor = torch.ops.aten.convolution(x, weight, bias, *geometry)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)
        ctx.biases = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), ctx.biases, *ctx.geometry, wanted
        )
        return (*(one.to(x.dtype) if asked else None for one, asked in zip(found, wanted, strict=True)), None)


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
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: str | Ints = 0,
    dilation: Ints = 1, groups: int = 1,
) -> tuple[Any, ...] | None:  # fmt: skip
    """What `_Convolution` takes, of the arguments of `torch.conv2d`; None where bfloat16 is as good."""
    if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
        return None
    depthwise = input.ndim == 4 and groups == input.shape[1] > 1
    if not depthwise or isinstance(padding, str) or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return None
    tensors = (input, weight) if bias is None else (input, weight, bias)
    if not any(one.requires_grad for one in tensors) or any(one.dtype == torch.float64 for one in tensors):
        return None  # autocast leaves float64 as it is
    strides, dilations = _two(stride), _two(dilation)
    plain = max(strides) == max(dilations) == 1 and len(weight) == groups and max(weight.shape[2:]) <= 3
    if plain:
        return None
    narrow = [None if one is None else one.to(torch.bfloat16) for one in (input, weight, bias)]
    return *narrow, (strides, _two(padding), dilations, False, [0, 0], groups)


def _two(value: Ints) -> list[int]:
    numbers = list(value) if isinstance(value, Iterable) else [int(value)]
    return numbers * (2 // len(numbers))


class DepthwisePrecision(MixedPrecision):
    """Lightning's mixed precision in bfloat16 on a CPU, with `DepthwiseGradients`."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @contextmanager
    def forward_context(self) -> Generator[None, None, None]:
        """Around each step, as Lightning's."""
        with super().forward_context(), DepthwiseGradients():
            yield
