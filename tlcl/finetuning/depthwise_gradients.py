"""Gradients of depthwise convolutions by fast kernels, where a processor trains in bfloat16.

oneDNN has fast bfloat16 kernels for the input's gradient without strides, and for the weights' up to 3x3. For the
others it takes reference ones, many times slower than float32's. Here a strided convolution's input gradient is the
unstrided one of an outer gradient with zeros in between, and a large kernel's gradient is put together from
3x3 windows of it. With dilation or several outputs a channel both are computed in float32.
`python -m benchmarks.depthwise` measures it.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

Ints = int | Iterable[int]
LARGEST = 3  # of the kernels whose gradient has a fast one in bfloat16


class _Convolution(torch.autograd.Function):
    """conv2d of bfloat16 tensors, as torch's, whose gradients are summed in float32 and rounded once.

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
        wanted = ctx.needs_input_grad[:3]
        stride, padding, dilation, *_, groups = ctx.geometry
        if max(dilation) == 1 and len(weight) == groups:
            found: tuple[Tensor | None, ...] = (
                input_gradient(gradient, x, weight, stride, padding) if wanted[0] else None,
                weight_gradient(gradient, x, weight, stride, padding) if wanted[1] else None,
                gradient.float().sum((0, 2, 3)) if wanted[2] else None,
            )
        else:
            given = gradient.float(), x.float(), weight.float(), ctx.biases
            found = torch.ops.aten.convolution_backward(*given, *ctx.geometry, list(wanted))
        return (*(None if one is None else one.to(x.dtype) for one in found), None)


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: list[int], padding: list[int], which: int
) -> Tensor:
    """torch's gradient by the input (0) or the weights (1) of a depthwise convolution."""
    asked = [which == 0, which == 1, False]
    geometry = stride, padding, [1, 1], False, [0, 0], len(weight)
    found: Tensor = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, asked)[which]
    return found


def input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
    """(N, C, H, W) of a depthwise convolution, by one without strides.

    Args:
        gradient: outer one (N, C, h, w).
        x: (N, C, H, W), for its shape.
        weight: (C, 1, k, l).
    """
    if max(stride) > 1:
        spread = gradient.permute(0, 2, 3, 1)[:, :, None, :, None]
        spread = pad(spread, (0, 0, 0, stride[1] - 1, 0, 0, 0, stride[0] - 1))
        spread = spread.flatten(3, 4).flatten(1, 2)
        # What is left of the zeros behind the last position, or images that no window reaches.
        rows, columns = (
            full + 2 * more - kernel + 1 - have
            for full, more, kernel, have in zip(
                x.shape[2:], padding, weight.shape[2:], spread.shape[1:3], strict=True
            )
        )
        gradient = pad(spread, (0, 0, 0, columns, 0, rows)).permute(0, 3, 1, 2)
    return _backward(gradient, x, weight, [1, 1], padding, 0)


def weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
    """(C, 1, k, l) of a depthwise convolution, window by window of it; arguments as of `input_gradient`."""
    height, width = weight.shape[2:]
    if max(height, width) <= LARGEST:
        return _backward(gradient, x, weight, stride, padding, 1)
    (rows, columns), (down, right) = padding, stride
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows)).permute(0, 3, 1, 2)
    found = []
    for top, skipped in _windows(height):
        line = []
        for left, known in _windows(width):
            window = weight[:, :, top : top + LARGEST, left : left + LARGEST]
            bottom = top + (gradient.shape[2] - 1) * down + window.shape[2]
            end = left + (gradient.shape[3] - 1) * right + window.shape[3]
            part = _backward(gradient, padded[:, :, top:bottom, left:end], window, stride, [0, 0], 1)
            line.append(part[:, :, skipped:, known:])
        found.append(torch.cat(line, 3))
    return torch.cat(found, 2)


def _windows(length: int) -> list[tuple[int, int]]:
    """Where windows of at most `LARGEST` begin that cover `length`, and how much of each is in the one before."""
    starts = [*range(0, max(length - LARGEST, 0), LARGEST), max(length - LARGEST, 0)]
    ends = [0, *(start + LARGEST for start in starts)]
    return [(start, end - start) for start, end in zip(starts, ends, strict=False)]


class DepthwiseGradients(TorchFunctionMode):
    """While open, the gradients of those convolutions that are slow in bfloat16 are computed by fast kernels.

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
    plain = max(strides) == max(dilations) == 1 and len(weight) == groups and max(weight.shape[2:]) <= LARGEST
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
