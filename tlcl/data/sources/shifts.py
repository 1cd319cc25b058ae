"""Changes of a domain's look that leave its labels true: how far a target is from its source, at will."""

from collections.abc import Callable

import torch
from torch import Tensor

from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.seeding import generator

NOISE = 64.0  # standard deviation, in grey levels of 0..255


def inverted(images: Tensor, part: str) -> Tensor:
    """Bright becomes dark: 255 - x. uint8 (N, C, H, W)."""
    return 255 - images


def noisy(images: Tensor, part: str) -> Tensor:
    """Gaussian noise on every pixel, cut to 0..255; the same in every run. uint8 (N, C, H, W)."""
    noise = torch.randn(images.shape, generator=generator(0, f"shift/noise/{part}")) * NOISE
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


SHIFTS: dict[str, Callable[[Tensor, str], Tensor]] = {"inverted": inverted, "noisy": noisy}


def shifted(source: Source, shift: str) -> Source:
    """The same images and labels under a shift.

    Args:
        shift: `none` or a name of `SHIFTS`; training and test images are changed alike.
    """
    if shift == "none":
        return source
    change = SHIFTS[shift]
    parts = [
        ImageTensors(change(part.images, name), part.labels, part.classes)
        for name, part in (("pool", source.pool), ("test", source.test))
    ]
    return Source(parts[0], parts[1], source.skipped)
