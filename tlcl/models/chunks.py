"""Frozen computing in batches of one size, so that an image's outputs do not depend on the batch that it is in."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tlcl.models.parts import Part

SIZE = 32  # images


def frozen(parts: Sequence[nn.Module], x: Tensor) -> bool:
    """Whether these modules compute in eval mode and nothing of them, or before them, learns."""
    modules = [module for part in parts for module in part.modules() if next(module.children(), None) is None]
    # A stretch of a larger network and its containers have no mode of their own.
    if any(module.training and not isinstance(module, Part) for module in modules):
        return False
    if not torch.is_grad_enabled():
        return True
    return not x.requires_grad and not any(value.requires_grad for part in parts for value in part.parameters())


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """`function` of (B, ...) in batches of `size`, the last one filled up with its last image.

    The kernels of some layers (grouped convolutions, squeeze-and-excitation, small maps) are chosen by the size of
    the batch, and differ in the last bits. In a batch of the same size an image's outputs depend neither on the
    others nor on its place, as far as the threads' shares are whole vectors, since of sigmoid, GELU and their like
    torch computes what is left of a vector by another formula. Those of 32 images are on 1 or 2 threads.
    """
    found = []
    for part in x.split(size):
        count = len(part)
        if count < size:
            filled = torch.empty((size, *part.shape[1:]), dtype=part.dtype, device=part.device)
            channels_last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
            if channels_last and not part.is_contiguous():  # each format has kernels of its own
                filled = filled.contiguous(memory_format=torch.channels_last)
            filled[:count], filled[count:] = part, part[-1:]
            part = filled
        found.append(function(part)[:count])
    return found[0] if len(found) == 1 else torch.cat(found)


def run(parts: Sequence[nn.Module], x: Tensor, *, chunks: bool) -> Tensor:
    """The modules one after another.

    Args:
        chunks: whether what is frozen computes in batches of one size, on a CPU; one image alone never does.
    """

    def plain(inputs: Tensor) -> Tensor:
        for part in parts:
            inputs = part(inputs)
        return inputs

    if chunks and len(x) > 1 and x.device.type == "cpu" and frozen(parts, x):
        return in_chunks(plain, x, SIZE)
    return plain(x)
