"""How many test images would tell two models apart: pure functions."""

import math

import numpy as np
from scipy.stats import binom, norm

from tlcl.statistics.accuracy import LEVEL

POWER = 0.8  # with which so many images would tell
EXACT = 1000  # images up to which the test's exact power is worked out
MOST = 10_000_000  # images beyond which no number is named
TIMES = 20  # as many labels as there are; more are not named


def images_to_tell(difference: float, discordant: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """How many images would tell such a difference apart from none in `power` of cases; None beyond `MOST`.

    Connor 1987, "Sample size for testing differences in proportions for the paired-sample design", equation 3; of
    up to `EXACT` images as many as the exact test needs, which are a few more.

    Args:
        difference: in -1..1.
        discordant: share of images on which one alone is right, at least |difference|.
    """
    gap, apart = abs(difference), max(discordant, abs(difference))
    if gap == 0:
        return None
    at_level, at_power = float(norm.ppf((1 + level) / 2)), float(norm.ppf(power))
    found = ((at_level * math.sqrt(apart) + at_power * math.sqrt(max(0.0, apart - gap**2))) / gap) ** 2
    if found > MOST:
        return None
    images = math.ceil(found)
    while images <= EXACT and mcnemar_power(images, gap, apart, level) < power:
        images += 1
    return images


def mcnemar_power(images: int, gap: float, apart: float, level: float = LEVEL) -> float:
    """In which share of cases McNemar's exact test tells a second model, better by `gap`, apart on so many images.

    Args:
        gap: above 0.
        apart: share of images on which one alone is right, at least `gap`.
    """
    differ = np.arange(images + 1)
    of_second = min(1.0, (apart + gap) / (2 * apart))
    # the fewest that the second must win, of each number of images that differ: 2 P(X >= k) < 1 - level
    wins = binom.isf((1 - level) / 2, differ, 0.5).astype(int) + 1
    wins = np.where(2 * binom.sf(wins - 1, differ, 0.5) < 1 - level, wins, wins + 1)
    return float((binom.pmf(differ, images, apart) * binom.sf(wins - 1, differ, of_second)).sum())
