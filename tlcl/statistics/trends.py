"""Whether figures rise along the columns of a table, or with the order of its rows: pure functions."""

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import page_trend_test

LEAST = 3  # places, of which fewer have no trend
MOST, DRAWN = 8, 10_000  # rows, of more of which so many orders are drawn


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
    steadily (mean rank correlation), of more than eight rows that of `DRAWN` orders; None with fewer than three
    rows, or where nothing varies.

    Args:
        figures: float (R, C), the rows in the order that is asked about.
    """
    table = np.asarray(figures, dtype=float)
    table = table[:, np.ptp(table, axis=0) > 0]
    if len(table) < LEAST or not table.shape[1]:
        return None
    ranked = np.stack([_centred_ranks(column) for column in table.T])
    places = _orders(len(table)) - (len(table) - 1) / 2
    steady = (places @ ranked.T).mean(1)  # the rank correlations' mean but for one factor
    return float(np.mean(steady >= steady[0] - 1e-9))


def _orders(rows: int) -> np.ndarray:
    """(M, rows): all orders, or many, the first of them that of the rows."""
    if rows <= MOST:
        return np.array(list(permutations(range(rows))))
    own = np.arange(rows)
    drawn = np.random.default_rng(0).permuted(np.tile(own, (DRAWN, 1)), axis=1)
    return np.concatenate([own[None], drawn])


def _centred_ranks(column: np.ndarray) -> np.ndarray:
    """Ranks less their mean, over their length: a dot product with other ranks is a correlation."""
    ranks = np.array([(column < one).sum() + ((column == one).sum() - 1) / 2 for one in column])
    ranks -= ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks))
