"""Sets of classes that hold the true one as often as is asked for: split conformal prediction, as pure functions.

Vovk et al. 2005, "Algorithmic learning in a random world"; the sets are those of Sadinle et al. 2019, "Least
ambiguous set-valued classifiers with bounded error levels" (LAC).
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def true_class_scores(probabilities: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """1 - p of the true class of each held-out image, the smallest first: float64 (N,), in 0..1.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: int (N,), 0..K-1.
    """
    given, answers = np.asarray(probabilities, np.float64), np.asarray(labels)
    return np.sort(1 - given[np.arange(len(answers)), answers])


def score_limit(scores: ArrayLike, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of n held-out scores; infinity where that is more than n.

    A new image's true class has a score within the limit with a probability of at least `coverage`, and, where no
    two scores are equal, of less than coverage + 1 / (n + 1): on average over held-out and new images that are
    exchangeable (drawn alike, in any order), not for each image or class by itself.

    Args:
        scores: float (n,), in ascending order.
        coverage: above 0 and below 1.
    """
    known = np.asarray(scores, np.float64)
    # A product that is whole but for rounding is not to be rounded up.
    rank = math.ceil((len(known) + 1) * coverage - 1e-9)
    return float(known[rank - 1]) if rank <= len(known) else math.inf


def largest_coverage(images: int) -> float:
    """What `images` held-out scores can promise at most with a limit that is not infinite."""
    return images / (images + 1)


def prediction_sets(probabilities: ArrayLike, limit: float) -> np.ndarray:
    """Which classes have a score, 1 - p, within the limit: bool (N, K); none, one or several of an image.

    Args:
        probabilities: (N, K), rows sum to 1.
    """
    return 1 - np.asarray(probabilities, np.float64) <= limit
