"""Trends against all orders tried one by one, and scipy's own test."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import page_trend_test, spearmanr

from tlcl.statistics.trends import rises_along, rises_down


def test_with_the_rows_it_is_the_share_of_all_orders() -> None:
    table = np.random.default_rng(0).normal(size=(5, 4)) + 0.4 * np.arange(5)[:, None]

    def steady(order: tuple[int, ...]) -> float:
        return float(np.mean([spearmanr(order, column).statistic for column in table.T]))

    seen = steady(tuple(range(5)))
    expected = np.mean([steady(order) >= seen - 1e-9 for order in permutations(range(5))])
    assert rises_down(table) == pytest.approx(float(expected))


def test_three_rows_tell_no_trend_however_steady() -> None:
    assert rises_down([[1, 1], [2, 2], [3, 3]]) == pytest.approx(1 / 6)
    assert rises_down([[3, 1], [2, 1], [1, 1]]) == 1.0  # a column that does not vary says nothing
    assert rises_down([[1], [2]]) is None
    assert rises_down([[1], [1], [1]]) is None
    nine = np.arange(9.0)[:, None]
    drawn, falling = rises_down(nine), rises_down(-nine)
    assert drawn is not None
    assert falling is not None
    assert drawn < 0.001
    assert falling > 0.999


def test_along_the_columns_it_is_pages() -> None:
    table = np.random.default_rng(1).normal(size=(4, 3)) + 0.5 * np.arange(3)
    assert rises_along(table) == pytest.approx(float(page_trend_test(table).pvalue))
    assert rises_along(table[:, :2]) is None
    assert rises_along(np.zeros((3, 3))) is None
