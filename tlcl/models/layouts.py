"""What a network's outputs mean: maps, tokens and vectors, as one kind whatever the network."""

import math

from torch import Tensor, nn

NCHW, NHWC, TOKENS, FLAT, UNORDERED = "NCHW", "NHWC", "tokens", "flat", "unordered"


def first_token(count: int, prefix: int) -> int:
    """The first of `count` tokens that is a place of the image.

    Args:
        prefix: tokens before them (class, registers) at the network's end; a block may not have them yet.
    """
    if math.isqrt(count - prefix) ** 2 == count - prefix or math.isqrt(count) ** 2 != count:
        return prefix
    return 0


def pooled(x: Tensor, layout: str, prefix: int = 0) -> Tensor:
    """Outputs as vectors (B, D): maps and tokens averaged over the places of the image.

    Args:
        x: (B, D), (B, N, D), (B, C, H, W), or (B, H, W, C) by its layout.
        layout: `NHWC` or another.
        prefix: as for `first_token`.
    """
    if x.ndim == 2:
        return x
    if x.ndim == 3:
        return x[:, first_token(x.shape[1], prefix) :].mean(1)
    return x.flatten(1, 2).mean(1) if layout == NHWC else x.flatten(2).mean(2)


def maps(x: Tensor, layout: str, prefix: int = 0) -> Tensor | None:
    """Outputs as maps (B, C, H, W); None where they are no map of the image.

    Args:
        x, layout, prefix: as for `pooled`; tokens that the network keeps in another order are `unordered`.
    """
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if layout == NHWC else x
    if x.ndim != 3 or layout == UNORDERED:
        return None
    tokens = x[:, first_token(x.shape[1], prefix) :]
    side = math.isqrt(tokens.shape[1])
    return tokens.transpose(1, 2).unflatten(2, (side, side)) if side * side == tokens.shape[1] else None


class Pooled(nn.Module):
    """`pooled` as the beginning of a head."""

    def __init__(self, layout: str, prefix: int = 0) -> None:
        super().__init__()
        self.layout, self.prefix = layout, prefix

    def forward(self, x: Tensor) -> Tensor:
        return pooled(x, self.layout, self.prefix)
