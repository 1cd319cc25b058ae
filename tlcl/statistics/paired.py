"""Models on the same images: differences with intervals, many of them at once.

Pure functions. Of one training each the test is exact (`tlcl.statistics.accuracy`); here trainings have seeds too.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from tlcl.statistics.accuracy import LEVEL, compare_accuracies
from tlcl.statistics.behrens_fisher import p_value, reach

Key = TypeVar("Key", bound=Hashable)
ROUNDING = 1e-9  # a standard error below which nothing varies
FEW = 300  # images that differ, of more of which the signs are as Student's t has it


@dataclass(frozen=True)
class Difference:
    """How much more often a second model is right than a first, on the same images.

    Attributes:
        images, seeds: how many images, and trainings of each model.
        first, second: their accuracies, in 0..1.
        difference: the second's less the first's, in -1..1.
        low, high: its confidence interval at `level`.
        p: probability of a difference as large, either way, if there were none; adjusted where several were tested.
        discordant: share of images and trainings on which one of the two alone is right, in 0..1.
    """

    images: int
    seeds: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    discordant: float
    level: float = LEVEL

    @property
    def told_apart(self) -> bool:
        """Whether it is more than chance, at the level."""
        return self.p < 1 - self.level

    @property
    def second_is_better(self) -> bool:
        return self.told_apart and self.difference > 0

    @property
    def first_is_better(self) -> bool:
        return self.told_apart and self.difference < 0


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Difference:
    """The difference of two models that were trained with the same seeds and asked about the same images.

    Of one training each: McNemar's exact test, see `compare_accuracies`. Of several: images and trainings are both
    drawn, so that the variance of the mean is that of the images' means plus that of the trainings' means, each
    over its number; their interaction is so counted twice. That is the variance of the bootstrap over images and
    trainings (Owen 2007, "The pigeonhole bootstrap") in closed form, with n - 1 in place of n. How sure the two
    variances are differs, see `tlcl.statistics.behrens_fisher`: that of two or three trainings is mostly chance.
    (The percentiles of that bootstrap hold the true difference of three trainings in 70 to 85 % of cases, and
    these intervals in 95 to 99 %; Holm's procedure on their p errs no more often than it should. Two trainings
    tell little.)

    Args:
        first, second: bool (N,) or (S, N), which of N images each of S trainings classifies rightly.

    Raises:
        ValueError: not the same images and trainings, or none.
    """
    right = np.atleast_2d(np.asarray(first, dtype=bool))
    other = np.atleast_2d(np.asarray(second, dtype=bool))
    if right.shape != other.shape or right.ndim != 2 or not right.size:
        raise ValueError(f"paired answers must be of the same images, not {right.shape} and {other.shape}")
    seeds, images = right.shape
    means = float(right.mean()), float(other.mean())
    discordant = float((right != other).mean())
    if seeds == 1:
        pair = compare_accuracies(right[0], other[0], level)
        return Difference(images, 1, *means, pair.difference, pair.low, pair.high, pair.p, discordant, level)
    gained = other.astype(float) - right.astype(float)
    gain = mean_gain(gained, level)
    if gain.error == 0:  # all trainings and all images gain the same, which only their number tells from chance
        pair = compare_accuracies(right[0], other[0], level)
        gain = Gain(gain.difference, pair.low, pair.high, pair.p, 0.0)
    else:
        gain = _no_surer_than_few_images(gain, gained.mean(0), seeds, level)
    return Difference(images, seeds, *means, gain.difference, gain.low, gain.high, gain.p, discordant, level)


def paired_trainings(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], level: float = LEVEL, overlap: float = 0.0
) -> Difference:
    """As `paired_difference` of several trainings, each pair asked about test images of its own: `mean_difference`.

    Args:
        first, second: of each training bool (N,), which images each classifies rightly; N may differ between pairs.
        overlap: as of `mean_difference`.
    """
    each = [paired_difference(one, two) for one, two in zip(first, second, strict=True)]
    ours, theirs = [one.first for one in each], [one.second for one in each]
    gain = mean_difference(ours, theirs, level, overlap)
    # Trainings that gain much the same say little of a gain that a few images make.
    won = np.concatenate([np.asarray(two, dtype=float) for two in second])
    won -= np.concatenate([np.asarray(one, dtype=float) for one in first])
    p = max(gain.p, sign_p(won) if (won != 0).sum() <= FEW else 0.0)
    low, high = (gain.low, gain.high) if p < 1 - level else (min(gain.low, 0.0), max(gain.high, 0.0))
    return Difference(
        images=min(one.images for one in each),
        seeds=len(each),
        first=float(np.mean(ours)),
        second=float(np.mean(theirs)),
        difference=gain.difference,
        low=max(-1.0, low),
        high=min(1.0, high),
        p=p,
        discordant=float(np.mean([one.discordant for one in each])),
        level=level,
    )


def _no_surer_than_few_images(gain: "Gain", of_images: np.ndarray, seeds: int, level: float) -> "Gain":
    """The gain where all that differs is a few images: no surer than their number allows.

    Student's t takes many for granted. Of up to `FEW` images whose mean gain is not 0 every sign that they could
    have had is counted (`sign_p`): that p holds where it is larger, and the interval then reaches over 0 and as far
    as the exact one of as many images won and lost.

    Args:
        of_images: float (N,), each image's mean gain over the trainings, in -1..1.
    """
    known = of_images[of_images != 0]
    p = sign_p(known, seeds) if len(known) <= FEW else 0.0
    if p <= gain.p:
        return gain
    if p < 1 - level:
        return gain._replace(p=p)
    exact = compare_accuracies(of_images < 0, of_images > 0, level)
    return gain._replace(low=min(gain.low, exact.low, 0.0), high=max(gain.high, exact.high, 0.0), p=p)


def sign_p(gains: ArrayLike, parts: int = 1) -> float:
    """Two-sided p of a sum of gains if each were as likely negated: the share of all signs; 1 for none.

    Fisher 1935, "The design of experiments", section 21. Of gains of -1, 0 and 1 it is McNemar's exact test.

    Args:
        gains: float (N,), whole numbers over `parts`.
    """
    steps = np.abs(np.rint(np.asarray(gains, dtype=float) * parts)).astype(int)
    steps = steps[steps > 0]
    seen, most = abs(int(np.rint(np.sum(gains) * parts))), int(steps.sum())
    chances = np.zeros(2 * most + 1)  # of each sum, -most to most
    chances[most] = 1
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # nothing is as far as the ends yet
    far = np.abs(np.arange(-most, most + 1)) >= seen
    return min(1.0, float(chances[far].sum()))


class Gain(NamedTuple):
    """A mean gain in -1..1, its confidence interval, the p of one as large by chance, and its standard error."""

    difference: float
    low: float
    high: float
    p: float
    error: float


def mean_gain(gained: ArrayLike, level: float = LEVEL) -> Gain:
    """Of several trainings on images: see `paired_difference`, whose gains are -1, 0 and 1; here any in -1..1.

    Args:
        gained: float (S, N), of at least two trainings; where nothing varies anything is possible.
    """
    known = np.asarray(gained, dtype=float)
    seeds, images = known.shape
    difference, of_images = float(known.mean()), 0.0
    if images > 1:
        of_images = float(np.var(known.mean(0), ddof=1)) / images
    variances = float(np.var(known.mean(1), ddof=1)) / seeds, of_images
    error = math.sqrt(sum(variances))
    if error < ROUNDING:
        return Gain(difference, -1.0, 1.0, 1.0, 0.0)
    freedoms = seeds - 1, max(1, images - 1)
    far = reach(variances, freedoms, level)
    low, high = max(-1.0, difference - far), min(1.0, difference + far)
    return Gain(difference, low, high, p_value(difference, variances, freedoms), error)


@dataclass(frozen=True)
class MeanDifference:
    """The mean of differences in pairs, as of two methods in the same repetitions.

    Attributes:
        pairs: how many.
        low, high: its confidence interval at the level that was asked for; infinite with one pair, or several equal
            ones, which say nothing of how much pairs vary.
        p: probability of a mean as far from zero, either way, by chance; 1 where the interval is infinite.
    """

    pairs: int
    difference: float
    low: float
    high: float
    p: float


def mean_difference(
    first: ArrayLike, second: ArrayLike, level: float = LEVEL, overlap: float = 0.0
) -> MeanDifference:
    """Student's paired t (1908, "The probable error of a mean"): the second's mean less the first's.

    What is drawn are the repetitions; how many test images each has does not enter.

    Args:
        first, second: float (N,), a figure of each in N repetitions.
        overlap: test images over training images, where each repetition draws both anew from the same images, so
            that no two are independent: the variance of the mean is then (1/N + overlap) times that of one (Nadeau
            & Bengio 2003, "Inference for the generalization error", section 3).

    Raises:
        ValueError: not as many of one as of the other, or none.
    """
    gained = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    if gained.ndim != 1 or not gained.size or np.shape(first) != np.shape(second):
        raise ValueError(f"pairs must be of as many figures, not {np.shape(first)} and {np.shape(second)}")
    mean = float(gained.mean())
    error = float(gained.std(ddof=1)) * math.sqrt(1 / len(gained) + overlap) if len(gained) > 1 else 0.0
    if error < ROUNDING:
        return MeanDifference(len(gained), mean, -math.inf, math.inf, 1.0)
    reach = float(t.ppf((1 + level) / 2, len(gained) - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, len(gained) - 1))
    return MeanDifference(len(gained), mean, mean - reach, mean + reach, p)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p of several tests, float (M,), in 0..1: those below 0.05 together err in 5 % of cases at most.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def together(pairs: Mapping[Key, Difference]) -> dict[Key, Difference]:
    """The same differences with p adjusted for their number (`holm`)."""
    adjusted = holm([pair.p for pair in pairs.values()])
    return {name: replace(pair, p=float(p)) for (name, pair), p in zip(pairs.items(), adjusted, strict=True)}


def max_t(gains: ArrayLike, draws: int = 10_000, seed: int = 0) -> np.ndarray:
    """One-sided p, adjusted, of several models that were each compared with the same one on some of the images.

    Models of one family are right and wrong on the same images, which Holm's procedure does not use: it would take
    ten tests where there are in effect three. Under chance an image's gains are as likely negated, all of them
    together; p is the share of such draws in which the largest of the statistics, sum / root of the sum of squares,
    is at least a model's own (Westfall & Young 1993, "Resampling-based multiple testing": single-step maxT).

    Args:
        gains: (M, N), 1 where model m alone is right about an image, -1 where the other is, else 0; NaN where it
            was not asked.
        draws: of signs.

    Returns:
        float (M,), in (0, 1].
    """
    given = np.nan_to_num(np.asarray(gains, dtype=float))
    size = np.sqrt((given**2).sum(1))
    scaled = given / np.where(size > 0, size, 1)[:, None]
    own, used = scaled.sum(1), np.flatnonzero((given != 0).any(0))
    random, reached = np.random.default_rng(seed), np.zeros(len(given))
    for start in range(0, draws, 1000):
        count = min(1000, draws - start)
        signs = random.integers(0, 2, (count, len(used)), dtype=np.int8) * 2.0 - 1
        largest = (signs @ scaled[:, used].T).max(1, initial=0.0)
        reached += (largest[:, None] >= own - 1e-9).sum(0)
    return (1 + reached) / (1 + draws)
