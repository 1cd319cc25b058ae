"""Who stays in a race: counted by hand, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from tlcl.statistics.racing import behind, chance_to_tell, survivors


def gains(*rows: str) -> np.ndarray:
    """`+`, `-`, `0`, and `.` for images that were not asked."""
    return np.array([[{"+": 1.0, "-": -1.0, "0": 0.0, ".": np.nan}[one] for one in row] for row in rows])


def test_behind_is_a_one_sided_sign_test():
    one, other = np.array([1, -1, -1, 0, -1, 0.0]), np.array([1, 0, 0, 0, 1, -1.0])
    # They differ on four images, of which the leader has three.
    assert behind(one, other) == pytest.approx(binom.sf(2, 4, 0.5))
    assert behind(one, one) == 1.0


def test_the_chance_to_tell_is_what_is_drawn():
    random, asked = np.random.default_rng(0), np.array([1] * 16 + [-1] * 8 + [0] * 76, dtype=float)
    said, apart = chance_to_tell(asked, 500, 0.95), 24.5 / 101
    told = []
    for _ in range(4000):
        mean = random.normal(asked.mean(), np.sqrt(apart / 100))
        total = 100 * asked.mean() + random.normal(400 * mean, np.sqrt(apart * 400))
        told.append(total > 1.96 * np.sqrt(apart * 500))
    assert said == pytest.approx(np.mean(told), abs=0.03)
    assert chance_to_tell(np.zeros(5), 60, 0.95) > 0.01  # five alike are no proof that none will differ
    assert chance_to_tell(np.zeros(250), 500, 0.95) < 0.05
    assert chance_to_tell(np.ones(50), 50, 0.95) == 1.0
    assert chance_to_tell(-np.ones(50), 500, 0.95) < 1e-6


def test_worse_hopeless_and_behind():
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


def test_nothing_that_can_be_told_apart_leaves_nobody():
    field = gains("+-00000000" * 9 + "." * 10, "0000000000" * 9 + "." * 10)
    assert survivors(field, [0, 1], 1, 100) == ([], {0: "hopeless", 1: "hopeless"})
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
