"""How sure an accuracy is, and whether another on the same images is better by more than chance: pure functions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

LEVEL = 0.95


def accuracy_interval(right: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Confidence interval of an accuracy, in 0..1; (0, 1) for no images (Wilson 1927, the score interval)."""
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(right, total).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class PairedAccuracy:
    """Two classifiers on the same images.

    Attributes:
        images: how many.
        first_only, second_only: images that one of them alone classifies rightly; the others say nothing of which
            one is better.
        difference: the second's accuracy less the first's, in -1..1.
        low, high: its confidence interval.
        p: probability of a difference as large, either way, if both were right equally often.
        level: of the interval, in 0..1.
    """

    images: int
    first_only: int
    second_only: int
    difference: float
    low: float
    high: float
    p: float
    level: float

    @property
    def second_is_better(self) -> bool:
        """Whether the second is right more often by more than chance: its interval lies above zero."""
        return self.low > 0

    @property
    def first_is_better(self) -> bool:
        return self.high < 0


def compare_accuracies(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> PairedAccuracy:
    """The exact form of McNemar's test (McNemar 1947; exact: a sign test on the images on which they differ).

    The interval is the exact one of the share of these images that the second has right (Clopper & Pearson 1934),
    carried over to the difference; so it excludes zero if and only if p < 1 - level. Where they differ on none, it
    is as far as the exact interval of how many they could differ on.

    Args:
        first, second: bool (N,), which images each classifies rightly, in the same order.

    Raises:
        ValueError: not the same number of images, or none.
    """
    right, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if right.shape != other.shape or right.ndim != 1 or not right.size:
        raise ValueError(f"paired answers must be of the same images, not {right.shape} and {other.shape}")
    images, lost, won = right.size, int((right & ~other).sum()), int((other & ~right).sum())
    if lost + won == 0:
        reach = float(binomtest(0, images).proportion_ci(level, method="exact").high)
        return PairedAccuracy(images, 0, 0, 0.0, -reach, reach, 1.0, level)
    test = binomtest(won, lost + won)
    share = test.proportion_ci(level, method="exact")
    low, high = ((2 * float(bound) - 1) * (lost + won) / images for bound in (share.low, share.high))
    return PairedAccuracy(images, lost, won, (won - lost) / images, low, high, float(test.pvalue), level)
