"""Images that show the same but for size, compression, brightness or a mirror: pure functions.

Pictures of 16 x 16 pixels are compared, not a network's features, which tell a copy at a third of the size or of
another JPEG quality from its original as they tell two different photos apart.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

SIDE = 16  # of the pictures that are compared
# Copies of photos (JPEG quality 20, a third of the size, mirrored, brighter) are above it in all but one of a
# hundred cases, the most alike of 1,000 photos and 800 sketches, each another image, below.
THRESHOLD = 0.975
SMALLEST = 32  # pixels; of smaller images different ones look alike
BLOCK = 2048  # images of a matrix product
AT_ONCE = 16 << 20  # numbers that are reduced at once
MOST_PAIRS = 10_000  # that are kept


class Pairs(NamedTuple):
    """Pairs that are alike.

    Attributes:
        total: how many there are.
        across: how many of these are across the two parts.
        first, second: int64 (M,), first < second; M = `total`, but for `MOST_PAIRS` at most; those across first,
            then the most alike.
        similarity: float32 (M,), `THRESHOLD` to 1.
    """

    total: int
    across: int
    first: Tensor
    second: Tensor
    similarity: Tensor


def small_pictures(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float32 (N, C * SIDE^2), of mean 0 and length 1: products are correlations.

    An image of one colour is all zero, and like no other.
    """
    parts = []
    for part in images.split(max(1, AT_ONCE // max(1, images[0].numel() if len(images) else 1))):
        small = nn.functional.interpolate(part.float(), (SIDE, SIDE), mode="area").flatten(1)
        small = small - small.mean(1, keepdim=True)
        length = small.norm(dim=1, keepdim=True)
        parts.append(torch.where(length > 1e-3, small / length.clamp_min(1e-3), 0.0))
    return torch.cat(parts)


def mirrored(pictures: Tensor) -> Tensor:
    """`small_pictures` of the mirror images."""
    return pictures.unflatten(1, (-1, SIDE, SIDE)).flip(3).flatten(1)


def alike(pictures: Tensor, boundary: int, threshold: float = THRESHOLD) -> Pairs:
    """All pairs whose pictures, or one and the other's mirror image, correlate by at least `threshold`.

    Args:
        pictures: float32 (N, D), see `small_pictures`.
        boundary: the first index of the second part, 0..N.
    """
    total = across = 0
    kept = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0))
    for start in range(0, len(pictures), BLOCK):
        rows = pictures[start : start + BLOCK]
        both = torch.cat([rows, mirrored(rows)])
        for other in range(start, len(pictures), BLOCK):
            columns = pictures[other : other + BLOCK]
            values = (both @ columns.T).unflatten(0, (2, -1)).amax(0)
            found = values >= threshold
            if other == start:
                found = found.triu(1)
            if not bool(found.any()):
                continue
            first, second = found.nonzero().unbind(1)
            similarity = values[first, second].clamp_max(1)
            first, second = first + start, second + other
            total, across = total + len(first), across + int(((first < boundary) & (second >= boundary)).sum())
            merged = [torch.cat(pair) for pair in zip(kept, (first, second, similarity), strict=True)]
            apart = (merged[0] < boundary) & (merged[1] >= boundary)
            order = (merged[2] + apart).argsort(descending=True, stable=True)[:MOST_PAIRS]
            kept = (merged[0][order], merged[1][order], merged[2][order])
    return Pairs(total, across, *kept)
