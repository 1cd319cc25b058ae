"""How sure an accuracy is, and whether another on the same images is better by more than chance: pure functions."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

LEVEL = 0.95
MOST, TINY = 1e3, 1e-300  # a score beyond which none is told from another, and the least variance


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


def mcnemar_p(lost: int, won: int) -> float:
    """Of McNemar's exact test, from how many images the first, and the second, alone has right; 1 for none."""
    return float(binomtest(won, lost + won).pvalue) if lost + won else 1.0


def score_interval(lost: int, won: int, images: int, level: float = LEVEL) -> tuple[float, float]:
    """Confidence interval of the difference of two shares that were counted on the same images, in -1..1.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design": every difference that its score test does not reject. How many images differ is drawn too, which an
    interval of who wins among those that do would leave out.

    Args:
        lost, won: images on which the first, and the second, alone is right.
    """
    z, gap = float(norm.ppf((1 + level) / 2)), (won - lost) / images

    def score(difference: float) -> float:
        # What the share of images that the first alone has right is most likely, given the difference.
        b = -won - lost + (2 * images - won + lost) * difference
        c = -lost * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 8 * images * c)) - b) / (4 * images)
        variance = images * (2 * share + difference * (1 - difference))
        distance = won - lost - images * difference
        return max(-MOST, min(MOST, distance / math.sqrt(max(variance, TINY))))

    low = -1.0 if gap <= -1 else brentq(lambda difference: score(difference) - z, -1, gap)
    high = 1.0 if gap >= 1 else brentq(lambda difference: score(difference) + z, gap, 1)
    return float(low), float(high)


def compare_accuracies(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> PairedAccuracy:
    """The exact form of McNemar's test (McNemar 1947; exact: a sign test on the images on which they differ).

    The interval is Tango's (`score_interval`), which reaches to zero where the test, the stricter one, finds no
    difference: so at the usual levels it excludes zero if and only if p < 1 - level. Where they differ on none, it
    is as far as the exact interval (Clopper & Pearson 1934) of how many they could differ on.

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
    p = mcnemar_p(lost, won)
    low, high = score_interval(lost, won, images, level)
    if p >= 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedAccuracy(images, lost, won, (won - lost) / images, low, high, p, level)
