"""Intervals and paired tests against the formulas, an enumeration and a simulation."""

from itertools import product
from math import comb, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom

from tlcl.statistics.accuracy import accuracy_interval, compare_accuracies, score_interval


@given(st.integers(1, 2000), st.data())
def test_the_interval_is_wilsons(total, data):
    right = data.draw(st.integers(0, total))
    share, z = right / total, 1.959963984540054
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    expected = max(0, middle - half), min(1, middle + half)
    assert accuracy_interval(right, total) == pytest.approx(expected, abs=1e-9)


def test_the_interval_against_published_values():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553..0.3662; 0 of 20 gives 0..0.1611.
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert accuracy_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert accuracy_interval(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=1e-4)
    assert accuracy_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (0, 5), (0, 6), (3, 9), (10, 26), (7, 7), (0, 0)])
def test_the_p_value_counts_what_is_as_unlikely(lost, won):
    first = [True] * lost + [False] * won + [True] * 11 + [False] * 4
    second = [False] * lost + [True] * won + [True] * 11 + [False] * 4
    pair = compare_accuracies(first, second)
    differing = lost + won
    # Every way in which the images they differ on could have fallen, each as likely.
    as_far = [k for k in range(differing + 1) if abs(2 * k - differing) >= abs(won - lost)]
    assert pair.p == pytest.approx(sum(comb(differing, k) for k in as_far) / 2**differing)
    assert (pair.first_only, pair.second_only, pair.images) == (lost, won, differing + 15)
    assert pair.difference == pytest.approx(np.mean(second) - np.mean(first))
    assert pair.low <= pair.difference <= pair.high


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120))
def test_interval_and_test_agree(answers):
    first, second = zip(*answers, strict=True)
    pair = compare_accuracies(first, second)
    assert (pair.second_is_better or pair.first_is_better) == (pair.p < 0.05)
    turned = compare_accuracies(second, first)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-pair.high, -pair.low, pair.p))


@pytest.mark.parametrize(("lost", "won", "images"), [(1, 0, 41), (3, 9, 60), (10, 26, 244), (5, 5, 20), (1, 8, 12)])
def test_the_interval_holds_what_the_score_test_does_not_reject(lost, won, images):
    def score(difference):
        # The likelihood at this difference, at its highest, found by search instead of by Tango's quadratic.
        def unlikely(share):
            counts = ((won, share + difference), (lost, share), (images - won - lost, 1 - 2 * share - difference))
            return -sum(count * log(of) for count, of in counts if count)

        edges = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
        share = minimize_scalar(unlikely, bounds=edges, method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * share + difference - difference**2) / images
        return ((won - lost) / images - difference) / sqrt(variance)

    gap, z = (won - lost) / images, 1.959963984540054
    expected = (
        brentq(lambda difference: score(difference) - z, -0.99, gap),
        brentq(lambda difference: score(difference) + z, gap, 0.99),
    )
    assert score_interval(lost, won, images) == pytest.approx(expected, abs=1e-6)


def test_the_ends_of_the_interval():
    assert score_interval(5, 0, 5)[0] == -1
    assert score_interval(0, 6, 6)[1] == 1
    assert 0 < score_interval(0, 6, 6)[0] < 0.5


@pytest.mark.parametrize(
    ("loses", "wins"), [(0.05, 0.0), (0.03, 0.0), (0.08, 0.01), (0.1, 0.02), (0.2, 0.1), (0.1, 0.1)]
)
@pytest.mark.parametrize("images", [12, 41, 120])
def test_the_interval_holds_the_true_difference(loses, wins, images):
    held = 0.0
    for lost in range(images + 1):  # exact: every outcome with its probability
        for won in range(images - lost + 1):
            chance = binom.pmf(lost, images, loses) * binom.pmf(won, images - lost, wins / (1 - loses))
            if chance > 1e-7:
                first = [True] * lost + [False] * (images - lost)
                second = [False] * lost + [True] * won + [False] * (images - lost - won)
                pair = compare_accuracies(first, second)
                held += chance * (pair.low - 1e-12 <= wins - loses <= pair.high + 1e-12)
    # Of the share among the images that differ, carried over, it was 46 to 97 %.
    assert held >= 0.94


def test_five_images_are_not_enough_and_six_are():
    assert not compare_accuracies([False] * 5, [True] * 5).second_is_better
    assert compare_accuracies([False] * 6, [True] * 6).second_is_better


def test_of_equal_classifiers_one_in_twenty_at_most_is_called_better():
    # Exact, over all outcomes of 12 images on which two equal classifiers differ.
    outcomes = [np.array(outcome) for outcome in product((False, True), repeat=12)]
    called = sum(compare_accuracies(outcome, ~outcome).p < 0.05 for outcome in outcomes)
    assert called / 2**12 <= 0.05


@pytest.mark.parametrize(("first", "second"), [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_other_images_cannot_be_compared(first, second):
    with pytest.raises(ValueError, match="same images"):
        compare_accuracies(first, second)


def test_never_to_differ_on_a_few_images_says_little():
    few, many = (compare_accuracies([True] * images, [True] * images) for images in (15, 1000))
    # Clopper & Pearson 1934: none of n is compatible with shares up to 1 - 0.025^(1/n).
    assert (few.low, few.high) == pytest.approx((0.025 ** (1 / 15) - 1, 1 - 0.025 ** (1 / 15)))
    assert few.p == many.p == 1.0
    assert many.high < 0.004 < few.high
