"""Batched augmentation of uint8 images on their device."""

import math

import torch
from torch import Tensor

RATIO = 4 / 3  # of a crop's sides, at most, and 1 / RATIO at least (Szegedy et al. 2015, section 6)


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


def random_resized_crop(images: Tensor, area: float, generator: torch.Generator) -> Tensor:
    """A random part of each image, enlarged to the whole size.

    Its area is uniform in `area`..1 of the image's, its ratio of sides log-uniform in 3/4..4/3 (Szegedy et al.
    2015, "Going deeper with convolutions", section 6); a side longer than the image's is cut to it. Bilinear; never
    reduced, so that nothing aliases.

    Args:
        images: uint8 (B, C, H, W).
        area: in 0..1, above 0.
        generator: on the device of `images`.

    Returns:
        uint8 (B, C, H, W).
    """
    batch, device = len(images), images.device
    draws = torch.rand(4, batch, generator=generator, device=device)
    share = area + (1 - area) * draws[0]
    ratio = torch.exp((2 * draws[1] - 1) * math.log(RATIO))
    width, height = (share * ratio).sqrt().clamp(max=1), (share / ratio).sqrt().clamp(max=1)
    # In affine_grid's coordinates, in which an image reaches from -1 to 1.
    across, down = (2 * draws[2] - 1) * (1 - width), (2 * draws[3] - 1) * (1 - height)
    nothing = torch.zeros_like(width)
    rows = torch.stack([width, nothing, across, nothing, height, down], 1).view(batch, 2, 3)
    grid = torch.nn.functional.affine_grid(rows, list(images.shape), align_corners=False)
    crops = torch.nn.functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return crops.round_().clamp_(0, 255).to(torch.uint8)


def random_colour(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image changed by factors of its own, uniform in 1 ± `strength`.

    One after the other, as torchvision's ColorJitter blends: with black, with the mean of the image's grey, and
    with its grey (ITU-R 601 luma). Grey images keep their saturation.

    Args:
        images: uint8 (B, 1 or 3, H, W).
        strength: in 0..1.
        generator: on the device of `images`.
    """
    if strength == 0:
        return images
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device)
    brightness, contrast, saturation = 1 + strength * (2 * draws - 1)
    pixels = (images.float() * brightness).clamp_(0, 255)
    middle = _grey(pixels).mean((2, 3), keepdim=True)
    pixels = (contrast * pixels + (1 - contrast) * middle).clamp_(0, 255)
    if images.shape[1] == 3:
        pixels = (saturation * pixels + (1 - saturation) * _grey(pixels)).clamp_(0, 255)
    return pixels.round_().to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) -> (B, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


def mixup_pairs(batch: int, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Whom each example is mixed with, and its own share (Zhang et al. 2018, "mixup", section 2).

    Args:
        alpha: of the symmetric Beta distribution of the share, above 0.
        generator: on the CPU.

    Returns:
        int64 (B,), a permutation, and the share, one for the batch, in 0..1.
    """
    # Two gamma variables make a beta one; torch's own Beta takes no generator.
    first, second = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    total = float(first + second)
    share = float(first) / total if total > 0 else 1.0
    return torch.randperm(batch, generator=generator), share


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
