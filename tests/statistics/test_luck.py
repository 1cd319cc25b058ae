"""The luck of two trainings, against simulations."""

import numpy as np
import pytest

from tlcl.statistics.accuracy import compare_accuracies
from tlcl.statistics.luck import LUCK, images_despite_luck, luck_variance, with_luck


def halves(random: np.random.Generator, images: int, gain: float, luck: float) -> tuple[np.ndarray, np.ndarray]:
    """Who is right: a head, and a deeper model of which each of two trainings answers one half."""
    means = gain + random.normal(0, luck, 2)
    won = np.repeat((0.06 + means) / 2, images // 2)
    draw = random.random(images)
    head = np.ones(images, dtype=bool)
    head[draw < won] = False
    return head, ~((draw >= won) & (draw < 0.06))


def test_luck_alone_is_rarely_taken_for_a_gain() -> None:
    random, without, kept = np.random.default_rng(0), 0, 0
    for _ in range(400):
        pair = compare_accuracies(*halves(random, 5000, 0.0, LUCK))
        without += pair.second_is_better
        kept += with_luck(pair, 2).second_is_better
    assert without > 20  # of 400, where 10 are due
    assert kept <= 16


def test_a_gain_beyond_luck_is_found() -> None:
    random = np.random.default_rng(1)
    pairs = [compare_accuracies(*halves(random, 5000, 0.025, LUCK)) for _ in range(50)]
    assert sum(with_luck(pair, 2).second_is_better for pair in pairs) > 45


@pytest.mark.parametrize(
    ("images", "lost", "won"), [(500, 0, 6), (800, 2, 12), (400, 1, 8), (244, 3, 30), (500, 9, 9)]
)
def test_interval_and_p_agree(images: int, lost: int, won: int) -> None:
    right, other = np.zeros((2, images), dtype=bool)
    other[:won], right[won : won + lost] = True, True
    pair = with_luck(compare_accuracies(right, other), 2)
    assert pair.second_is_better == (pair.p < 0.05)


def test_no_number_of_images_tells_a_gain_that_luck_hides() -> None:
    assert images_despite_luck(0.006, 0.04, trainings=2) is None
    random, told = np.random.default_rng(3), 0
    images = images_despite_luck(0.02, 0.06, trainings=2)
    assert images is not None
    for _ in range(200):
        told += with_luck(compare_accuracies(*halves(random, images // 2 * 2, 0.02, LUCK)), 2).second_is_better
    assert 0.65 < told / 200 < 0.92


@pytest.mark.parametrize(("first", "second"), [(200, 210), (180, 220), (210, 200), (200, 200)])
def test_of_some_hundred_images_it_counts_little(first: int, second: int) -> None:
    right = np.arange(240)
    pair = compare_accuracies(right < first, right[::-1] < second)
    lucky = with_luck(pair, 2)
    assert (lucky.difference, lucky.images) == (pair.difference, pair.images)
    assert lucky.low <= pair.low < pair.high <= lucky.high
    assert lucky.high - lucky.low < 1.05 * (pair.high - pair.low)
    assert pair.p <= lucky.p <= pair.p + 0.02
    assert with_luck(pair, 2, luck=0).low == pytest.approx(pair.low)
    assert with_luck(pair, 2, luck=0).p == pytest.approx(pair.p)


def test_the_variance_of_trainings_beyond_their_images() -> None:
    """A table by hand; and without bias, whether trainings have luck of their own or not."""
    gains = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    # Means 1/3 and 1: their variance is 2/9, of which three images make 2/3. What is left: 1/3 over 2.
    assert luck_variance(gains) == pytest.approx((2 / 3 - 1 / 6) / 3)
    random = np.random.default_rng(0)
    for luck in (0.0, 0.03):
        found = []
        for _ in range(2000):
            of_image, of_training = random.normal(0, 0.3, 50), random.normal(0, luck, (3, 1))
            found.append(luck_variance(of_image + of_training + random.normal(0, 0.2, (3, 50))))
        assert np.mean(found) == pytest.approx(luck**2, abs=4 * np.std(found) / len(found) ** 0.5)
