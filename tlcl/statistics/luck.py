"""The luck of a training, where there are too few trainings to measure it: pure functions."""

import math
from dataclasses import replace

from scipy.stats import norm

from tlcl.statistics.accuracy import PairedAccuracy

# Standard deviation of a gain from one training to the next beyond what its test images explain: what six folds of
# 600 to 2,000 labels have in the races of benchmarks.depth_race.
LUCK = 0.006


def with_luck(pair: PairedAccuracy, trainings: int, luck: float = LUCK) -> PairedAccuracy:
    """A paired test in which the answers of one model come from so many trainings, whose luck is counted.

    Both ends of the interval, and p, go by the root of the two variances' sum: of thousands of images half of what
    is not known of a gain may be luck, of hundreds next to nothing.

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
    return replace(pair, low=max(-1.0, low), high=min(1.0, high), p=p)
