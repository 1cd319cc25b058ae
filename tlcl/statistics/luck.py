"""The luck of a training, where there are too few trainings to measure it: pure functions."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from tlcl.statistics.accuracy import LEVEL, PairedAccuracy
from tlcl.statistics.power import POWER, images_to_tell

# Standard deviation of a gain from one training to the next beyond what its test images explain, with 600 labels or
# more: `python -m benchmarks.luck`.
LUCK = 0.007


def luck_variance(gains: ArrayLike) -> float:
    """Variance of a training's mean gain about what trainings gain on average; below 0 where it is small by chance.

    Of gains with an effect of the training, one of the image, and what is left: the first one's variance by the
    mean squares (Henderson 1953, "Estimation of variance and covariance components"), without bias, so that those
    of several models have a mean.

    Args:
        gains: float (S, N), S >= 2 trainings on N >= 2 images.
    """
    known = np.asarray(gains, dtype=float)
    trainings, images = known.shape
    means = known.mean(1, keepdims=True)
    left = known - means - known.mean(0, keepdims=True) + known.mean()
    of_trainings = images * float(means.var(ddof=1))
    of_rest = float(np.square(left).sum()) / ((trainings - 1) * (images - 1))
    return (of_trainings - of_rest) / images


def with_luck(pair: PairedAccuracy, trainings: int, luck: float = LUCK) -> PairedAccuracy:
    """A paired test in which the answers of one model come from so many trainings, whose luck is counted.

    Both ends of the interval, and p, go by the root of the two variances' sum: it counts the more, the fewer images
    differ.

    Args:
        trainings: each answered an equal part of the images.
        luck: standard deviation of a training's gain about the gain that trainings have on average.
    """
    more = luck / math.sqrt(trainings)
    far = float(norm.ppf((1 + pair.level) / 2)) * more
    low = pair.difference - math.hypot(pair.difference - pair.low, far)
    high = pair.difference + math.hypot(pair.high - pair.difference, far)
    distance, p = float(norm.isf(pair.p / 2)), pair.p
    if distance > 0:
        error = math.hypot(pair.difference / distance, more)
        p = max(p, float(2 * norm.sf(abs(pair.difference) / error)))
    if p >= 1 - pair.level:
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        p = 1 - pair.level
    return replace(pair, low=max(-1.0, low), high=min(1.0, high), p=p)


def images_despite_luck(gap: float, discordant: float, trainings: int, luck: float = LUCK) -> int | None:
    """How many images would tell such a gain apart from none, see `images_to_tell`; None where luck alone hides it.

    Args:
        gap: above 0.
        discordant: share of images on which one of the two alone is right.
        trainings: see `with_luck`; no image makes them more.
    """
    needed = float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER))
    left = (gap / needed) ** 2 - luck**2 / trainings
    alone = images_to_tell(gap, discordant)
    if left <= 0 or alone is None:
        return None
    return max(alone, math.ceil(discordant / left))
