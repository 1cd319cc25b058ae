"""Which of several models are still in the race after some folds of a cross-validation: pure functions.

In the manner of Maron & Moore 1997, "The racing algorithm", and successive halving (Jamieson & Talwalkar 2016,
"Non-stochastic best arm identification and hyperparameter optimization").
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm

KEPT = 3  # one in so many goes on after each fold
WORSE = 0.1  # p, one-sided, below which a model is out because the leader is better
NO_GAIN = 0.05  # chance of being ahead of the reference in the end, below which it is out
FEWEST = 40  # images of a fold; fewer tell no long shot from what mostly wins


def starters(long_shots: Sequence[bool], images: int, folds: int) -> list[int]:
    """Who is in the race: all, or with few images a fold those that are no long shots, if there are any.

    Args:
        long_shots: of each model, the cheapest first, whether it rarely wins.
    """
    everybody = list(range(len(long_shots)))
    likely = [model for model in everybody if not long_shots[model]]
    return likely if likely and images < FEWEST * folds else everybody


def behind(gained: np.ndarray, leader: np.ndarray) -> float:
    """One-sided p of the exact sign test that the leader is no better, on the images that both were asked."""
    less = gained - leader
    lost, won = int((less < 0).sum()), int((less > 0).sum())
    return float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def chance_to_gain(gained: np.ndarray, images: int) -> float:
    """The chance that a model is ahead of the reference when all images are asked, as it looks now.

    The gain per image is taken as normal, with what is known of it and what is to come.

    Args:
        gained: float (n,), -1, 0 or 1, of the images asked so far.
        images: N in the end.
    """
    asked, mean = len(gained), float(gained.mean())
    # One answer more, half of it different: that none of a few differed does not say that none will.
    apart = (float((gained != 0).sum()) + 0.5) / (asked + 1)
    if asked >= images:
        return float(mean > 0)
    return float(norm.cdf(mean * images / math.sqrt(apart * (images - asked) * images / asked)))


def expected_gain(gain: float, discordant: float, images: int, elsewhere: tuple[float, float]) -> float:
    """The mean of what the gain over a reference may be, given what was seen and what was gained on other images.

    Both are taken as normal, so that each weighs by the inverse of its variance (Lindley & Smith 1972, "Bayes
    estimates for the linear model"): of few images what was seen says little, of thousands nearly all.

    Args:
        gain: that was seen, in -1..1.
        discordant: share of the images on which one of the two alone was right.
        images: on which that was seen.
        elsewhere: mean and standard deviation of gains on other sets of images.
    """
    mean, deviation = elsewhere
    # One answer more, half of it different, as for `chance_to_gain`.
    variance = (discordant * images + 0.5) / (images + 1) / images
    return (gain / variance + mean / deviation**2) / (1 / variance + 1 / deviation**2)


def survivors(
    gains: ArrayLike, alive: Sequence[int], folds_done: int, images: int
) -> tuple[list[int], dict[int, str]]:
    """Which models go on after a fold, and why each of the others does not.

    Out is what is worse than the leader by more than chance, what has hardly a chance of being ahead of the
    reference in the end, and, of those left, all but the best: as many as a third of all models after the first
    fold, a ninth after the second, and so on, rounded up.

    Args:
        gains: float (M, N), as for `tlcl.statistics.paired.max_t`: over the reference, NaN where not asked.
        alive: those that were asked in the last fold, the cheapest first.
        folds_done: how many folds are done, from 1.
        images: N in the end.
    """
    given = np.asarray(gains, dtype=float)
    if not alive:
        return [], {}
    asked = ~np.isnan(given[list(alive)]).any(0)
    mine = {model: given[model, asked] for model in alive}
    order = sorted(alive, key=lambda model: -float(mine[model].mean()))  # stable: among equals the cheapest first
    leader = mine[order[0]]
    if leader.mean() < 0:
        leader = np.zeros_like(leader)  # the reference leads
    out: dict[int, str] = {}
    for model in alive:
        if behind(mine[model], leader) < WORSE:
            out[model] = "worse"
        elif chance_to_gain(mine[model], images) < NO_GAIN:
            out[model] = "no_gain"
    kept = [model for model in order if model not in out]
    most = max(1, math.ceil(len(given) / KEPT**folds_done))
    out |= dict.fromkeys(kept[most:], "behind")
    return [model for model in alive if model in kept[:most]], out
