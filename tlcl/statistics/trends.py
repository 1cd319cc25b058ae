"""Whether figures rise along the columns of a table, or with the order of its rows: pure functions."""

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import page_trend_test

LEAST = 3  # places, of which fewer have no trend
MOST = 8  # rows, of more of which there are too many orders to try


def rises_along(figures: ArrayLike) -> float | None:
    """One-sided p that the figures of each row rise along the columns; None with fewer than three of either.

    Page 1963, "Ordered hypotheses for multiple treatments: a significance test for linear ranks".

    Args:
        figures: float (R, C), of R things that say nothing of each other.
    """
    table = np.asarray(figures, dtype=float)
    if min(table.shape) < LEAST or not np.ptp(table, axis=1).any():
        return None
    return float(page_trend_test(table).pvalue)


def rises_down(figures: ArrayLike) -> float | None:
    """One-sided p that the columns rise with the order of the rows: the share of all orders in which they rise as
    steadily (mean rank correlation); None with fewer than three rows, more than eight, or where nothing varies.

    Args:
        figures: float (R, C), the rows in the order that is asked about.
    """
    table = np.asarray(figures, dtype=float)
    table = table[:, np.ptp(table, axis=0) > 0]
    if not LEAST <= len(table) <= MOST or not table.shape[1]:
        return None
    ranked = np.stack([_centred_ranks(column) for column in table.T])
    places = np.array(list(permutations(range(len(table))))) - (len(table) - 1) / 2
    steady = (places @ ranked.T).mean(1)  # the rank correlations' mean but for one factor
    return float(np.mean(steady >= steady[0] - 1e-9))


def _centred_ranks(column: np.ndarray) -> np.ndarray:
    """Ranks less their mean, over their length: a dot product with other ranks is a correlation."""
    ranks = np.array([(column < one).sum() + ((column == one).sum() - 1) / 2 for one in column])
    ranks -= ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks))


