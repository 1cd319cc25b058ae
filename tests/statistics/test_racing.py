"""Who stays in a race: counted by hand, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from tlcl.statistics.racing import behind, chance_to_gain, starters, survivors


def gains(*rows: str) -> np.ndarray:
    """`+`, `-`, `0`, and `.` for images that were not asked."""
    return np.array([[{"+": 1.0, "-": -1.0, "0": 0.0, ".": np.nan}[one] for one in row] for row in rows])


def test_behind_is_a_one_sided_sign_test():
    one, other = np.array([1, -1, -1, 0, -1, 0.0]), np.array([1, 0, 0, 0, 1, -1.0])
    # They differ on four images, of which the leader has three.
    assert behind(one, other) == pytest.approx(binom.sf(2, 4, 0.5))
    assert behind(one, one) == 1.0


def test_the_chance_to_gain_is_what_is_drawn():
    """A mean as uncertain as that of 100 images, then 400 images more."""
    random, asked = np.random.default_rng(0), np.array([1] * 11 + [-1] * 13 + [0] * 76, dtype=float)
    said, apart = chance_to_gain(asked, 500), 24.5 / 101
    mean = random.normal(asked.mean(), np.sqrt(apart / 100), 20_000)
    total = 100 * asked.mean() + random.normal(400 * mean, np.sqrt(apart * 400))
    assert said == pytest.approx((total > 0).mean(), abs=0.01)
    assert chance_to_gain(np.zeros(5), 60) == 0.5
    assert chance_to_gain(np.ones(50), 50) == 1.0
    assert chance_to_gain(np.zeros(50), 50) == 0.0
    assert chance_to_gain(-np.ones(50), 500) < 1e-6


def test_long_shots_start_where_a_fold_can_tell_them():
    assert starters([False, False, True], 239, 6) == [0, 1]
    assert starters([False, False, True], 240, 6) == [0, 1, 2]
    assert starters([True, True], 20, 6) == [0, 1]
    assert starters([], 20, 6) == []


def test_worse_and_behind():
    field = gains(
        "+" * 20 + "0" * 30 + "." * 50,
        "+" * 19 + "0" * 31 + "." * 50,
        "-" * 20 + "0" * 30 + "." * 50,
        "+" * 18 + "0" * 32 + "." * 50,
        "0" * 50 + "." * 50,
    )
    kept, out = survivors(field, [0, 1, 2, 3, 4], 1, 100)
    assert kept == [0, 1]
    assert out == {2: "worse", 4: "worse", 3: "behind"}
    kept, out = survivors(field, kept, 2, 100)
    assert (kept, out) == ([0], {1: "behind"})


def test_nothing_that_can_be_ahead_leaves_nobody():
    field = gains("--------00" * 5 + "." * 50, "0000000000" * 5 + "." * 50)
    assert survivors(field, [0], 1, 100) == ([], {0: "worse"})
    assert survivors(field, [0, 1], 1, 100) == ([1], {0: "worse"})
    few = gains("+" * 4 + "-" * 9 + "0" * 77 + "." * 10)  # no worse by the sign test, yet it will not catch up
    assert behind(few[0, :90], np.zeros(90)) == pytest.approx(binom.sf(8, 13, 0.5))
    assert survivors(few, [0], 9, 100) == ([], {0: "no_gain"})
    assert survivors(field, [], 1, 100) == ([], {})


def test_among_equals_the_cheapest_stays():
    field = gains(*["+" * 12 + "0" * 8 + "." * 80] * 4)
    kept, out = survivors(field, [0, 1, 2, 3], 2, 100)
    assert (kept, out) == ([0], {1: "behind", 2: "behind", 3: "behind"})


def test_the_best_of_a_field_mostly_wins():
    random = np.random.default_rng(0)
    won = 0
    for _ in range(100):
        rates = [0.0, 0.02, 0.04, 0.12]
        field = np.array([
            random.choice([1.0, -1.0, 0.0], 500, p=[0.08 + rate, 0.08, 0.84 - rate]) for rate in rates
        ])  # fmt: skip
        alive = [0, 1, 2, 3]
        for fold in range(1, 5):
            seen = field.copy()
            seen[:, 100 * fold :] = np.nan
            alive, _ = survivors(seen, alive, fold, 500)
        won += alive == [3]
    assert won >= 80
