"""WiSE-FT: weights on the line from those that the training began with to those that it ended with."""

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`(1 - share) * start + share * end`, BatchNorm's mean and variance included; its counters are `end`'s.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", eq. 1, with the pretrained network and a fitted
    head in the place of the zero-shot model. What is equal in both stays as it is, to the bit.

    Args:
        start, end: state dicts with the same keys and shapes.
        share: 0..1.
    """
    return {
        key: torch.lerp(start[key].to(value.device), value, share) if value.is_floating_point() else value
        for key, value in end.items()
    }
