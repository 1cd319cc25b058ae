"""Batched augmentation of uint8 images on their device."""

import torch
from torch import Tensor


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by its own random offset in -padding..padding, filling with zeros.

    Equal in distribution to zero-padding and a random crop of the original size (He et al. 2016, section 4.2),
    for the whole batch in one gather.

    Args:
        images: (B, C, H, W), any dtype.
        generator: on the device of `images`.

    Returns:
        (B, C, H, W).
    """
    if padding == 0:
        return images
    batch, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    offsets = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = (offsets[0] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width, device=images.device))[:, None, None, :]
    which = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[which, channel, rows, columns]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: (B, C, H, W), any dtype.
        generator: on the device of `images`.
    """
    flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def random_version(versions: Tensor, generator: torch.Generator) -> Tensor:
    """One of the V versions of each example, each as likely as the others.

    With two it draws what `random_flip` draws: version 1 where that mirrors.

    Args:
        versions: (B, V, ...), any dtype.
        generator: on the device of `versions`.

    Returns:
        (B, ...).
    """
    count = versions.shape[1]
    draws = torch.rand(len(versions), generator=generator, device=versions.device)
    which = (count - 1 - (draws * count).long()).clamp_min(0)
    return versions[torch.arange(len(versions), device=versions.device), which]
