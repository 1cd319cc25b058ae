"""Paired differences over images and trainings against exact cases, an independent bootstrap and simulations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tlcl.statistics.accuracy import compare_accuracies
from tlcl.statistics.paired import (
    holm,
    max_t,
    mean_difference,
    mean_gain,
    paired_difference,
    paired_trainings,
    sign_p,
    together,
)
from tlcl.statistics.power import images_to_tell, mcnemar_power


def test_one_training_is_the_exact_test():
    random = np.random.default_rng(0)
    first, second = random.random(60) < 0.6, random.random(60) < 0.8
    exact, pair = compare_accuracies(first, second), paired_difference(first, second)
    assert (pair.difference, pair.low, pair.high, pair.p) == (exact.difference, exact.low, exact.high, exact.p)
    assert (pair.first, pair.second) == (first.mean(), second.mean())
    assert pair.discordant == (first != second).mean()


def drawn(random, seeds, images, gain=0.0, spread=0.3):
    """Answers of two models whose trainings and images both have effects of their own."""
    hard = random.normal(1, 1.5, images)

    def model(more):
        own = random.normal(0, 0.5, images) + random.normal(0, spread, (seeds, 1))
        return hard + more + own + random.normal(0, 0.5, (seeds, images)) > 0

    return model(0.0), model(gain)


def test_the_variance_is_that_of_a_bootstrap_over_images_and_trainings():
    first, second = drawn(np.random.default_rng(3), 6, 400)
    pair, random = paired_difference(first, second), np.random.default_rng(0)
    gained = second.astype(float) - first
    means = [gained[random.integers(0, 6, 6)][:, random.integers(0, 400, 400)].mean() for _ in range(4000)]
    # The bootstrap divides by n where an unbiased variance divides by n - 1: 6 trainings are most of it.
    error = np.std(means) * np.sqrt(6 / 5)
    assert pair.difference == pytest.approx(gained.mean())
    assert (pair.high - pair.difference) / error == pytest.approx((pair.difference - pair.low) / error)
    # The factor is between the normal one and Student's of 5 degrees of freedom.
    assert 1.96 * 0.9 < (pair.high - pair.difference) / error < stats.t.ppf(0.975, 5) * 1.1


@pytest.mark.parametrize(
    ("seeds", "images", "spread"), [(2, 1000, 0.2), (2, 400, 0.05), (3, 200, 0.3), (3, 1500, 0.3), (5, 500, 0.3)]
)
def test_intervals_hold_no_difference_where_there_is_none(seeds, images, spread):
    random = np.random.default_rng(7)
    pairs = [paired_difference(*drawn(random, seeds, images, spread=spread)) for _ in range(300)]
    held = np.mean([pair.low <= 0 <= pair.high for pair in pairs])
    assert held >= 0.93  # less than two standard errors below 95 %
    assert all(pair.told_apart == (not pair.low <= 0 <= pair.high) for pair in pairs)


@pytest.mark.parametrize("seeds", [2, 3])
def test_many_tests_of_few_trainings_err_together_no_more_often(seeds):
    random, wrong, draws = np.random.default_rng(5), 0, 60
    for _ in range(draws):
        hard = random.normal(1, 1.5, 1000)
        models = [
            hard + random.normal(0, 0.2, (seeds, 1)) + random.normal(0, 0.7, (seeds, 1000)) > 0 for _ in range(5)
        ]
        pairs = {(a, b): paired_difference(models[a], models[b]) for b in range(5) for a in range(b)}
        wrong += any(pair.told_apart for pair in together(pairs).values())
    # 5 % at most; Satterthwaite's degrees of freedom err in 20 to 50 %.
    assert wrong / draws <= 0.12


def test_a_difference_that_is_there_is_found():
    random = np.random.default_rng(1)
    found = [paired_difference(*drawn(random, 3, 1000, gain=1.5, spread=0.05)) for _ in range(50)]
    assert np.mean([pair.second_is_better for pair in found]) > 0.9
    assert not any(pair.first_is_better for pair in found)


def test_a_mean_gain_is_that_of_paired_answers_and_of_any_others():
    first, second = drawn(np.random.default_rng(2), 3, 200, gain=0.5)
    pair, gain = paired_difference(first, second), mean_gain(second.astype(float) - first)
    assert (gain.difference, gain.low, gain.high, gain.p) == (pair.difference, pair.low, pair.high, pair.p)
    halved = mean_gain((second.astype(float) - first) / 2)
    assert (2 * halved.difference, halved.p) == (pytest.approx(gain.difference), pytest.approx(gain.p))
    square = paired_difference([[True, False], [False, True]], [[False, True], [True, False]])
    assert (square.difference, square.p) == (0, 1)  # it varies, but neither by image nor by training
    latin = paired_difference([[False, True], [True, False]], np.ones((2, 2), bool))
    assert latin.difference == 0.5
    assert not latin.told_apart
    thirds = paired_difference(np.zeros((7, 7), bool), np.eye(7, dtype=bool))  # the same, not to the last bit
    assert not thirds.told_apart
    one = paired_difference([[False], [True], [False]], [[True], [True], [True]])
    assert (one.images, one.told_apart) == (1, False)
    assert mean_gain(np.full((3, 4), 0.5)).p == 1


def test_models_that_never_differ():
    right = np.ones((3, 5), dtype=bool)
    same, none = paired_difference(right, right), paired_difference(~right, right)
    assert (same.difference, same.p, same.told_apart) == (0.0, 1.0, False)
    assert (none.difference, none.p) == (1.0, 2 / 2**5)  # five images, whatever the seeds
    assert not none.told_apart
    assert paired_difference(np.zeros((2, 6), bool), np.ones((2, 6), bool)).second_is_better


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False]), ([[True]], [[True], [True]])])
def test_other_images_are_refused(first, second):
    with pytest.raises(ValueError, match="paired answers must be of the same images"):
        paired_difference(first, second)


def test_holm_of_the_textbook():
    # Holm 1979: the smallest times their number, the next times one less, never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_p_and_bonferronis(values):
    adjusted = holm(values)
    assert (adjusted >= np.array(values) - 1e-12).all()
    assert (adjusted <= np.minimum(1, len(values) * np.array(values)) + 1e-12).all()
    assert (np.argsort(adjusted, kind="stable")[0] == np.argsort(values, kind="stable")[0]) or (
        adjusted.min() == adjusted[np.argmin(values)]
    )


def test_many_against_one_are_adjusted_for_their_number():
    random = np.random.default_rng(0)
    one = random.random(400) < 0.6
    others = {str(number): random.random(400) < 0.65 for number in range(4)}
    found = together({name: paired_difference(one, other) for name, other in others.items()})
    raw = [paired_difference(one, other).p for other in others.values()]
    assert [pair.p for pair in found.values()] == pytest.approx(holm(raw))


def test_max_t_is_what_all_signs_say():
    gains = np.array([[1, 1, 0, -1, 1, 1.0], [0, 1, 1, np.nan, np.nan, np.nan], [-1, 0, 0, 0, -1, 0]])
    given_gains = np.nan_to_num(gains)
    scaled = given_gains / np.sqrt((given_gains**2).sum(1))[:, None]
    own = scaled.sum(1)
    largest = [max(scaled @ np.array(signs)) for signs in product((-1, 1), repeat=6)]
    expected = [np.mean([value >= mine - 1e-9 for value in largest]) for mine in own]
    assert max_t(gains, draws=40_000) == pytest.approx(expected, abs=0.01)


def test_max_t_errs_once_in_twenty_and_finds_more_than_holm():
    random = np.random.default_rng(0)
    wrong, ours, holms = 0, 0, 0
    for _ in range(200):
        head = random.random(150) < 0.7
        alike = np.where(random.random(150) < 0.12, random.random(150) < 0.5, head)  # all models share it
        models = [np.where(random.random(150) < 0.04, random.random(150) < 0.5, alike) for _ in range(8)]
        chance = np.array([model.astype(float) - head for model in models])
        # The signs are drawn anew, so that there is no gain but by chance.
        flips = random.integers(0, 2, 150) * 2 - 1
        wrong += (max_t(chance * flips, 2000) < 0.05).any()
        better = np.where(random.random(150) < 0.5, chance * flips, np.abs(chance))
        ours += (max_t(better, 2000) < 0.05).any()
        exact = [stats.binomtest(int((one > 0).sum()), max(1, int((one != 0).sum()))).pvalue for one in better]
        holms += (holm(exact) < 0.05).any()
    assert wrong / 200 <= 0.08
    assert ours > holms


def test_images_that_would_tell():
    # Connor 1987, equation 3, by hand: z 1.95996 and 0.84162, 10 points where 30 % are answered differently.
    by_hand = ((1.959964 * 0.3**0.5 + 0.841621 * (0.3 - 0.01) ** 0.5) / 0.1) ** 2
    assert 0 <= images_to_tell(0.1, 0.3) - int(np.ceil(by_hand)) <= 20  # of the exact test a few more
    assert images_to_tell(0.01, 0.1) == int(
        np.ceil(((1.959964 * 0.1**0.5 + 0.841621 * (0.1 - 0.0001) ** 0.5) / 0.01) ** 2)
    )
    assert images_to_tell(0.0, 0.3) is None
    assert images_to_tell(1e-6, 0.3) is None


@pytest.mark.parametrize(("gap", "apart", "images"), [(1, 1, 6), (0.3, 0.5, 46), (0.3, 0.3, 25), (0.2, 0.2, 39)])
def test_as_many_as_the_exact_test_needs(gap, apart, images):
    """Against the sum over all outcomes."""
    assert images_to_tell(gap, apart) == images
    shares = [(apart + gap) / 2, (apart - gap) / 2, max(0.0, 1 - apart)]
    told = sum(
        stats.multinomial.pmf([won, lost, images - won - lost], images, shares)
        for won in range(images + 1) for lost in range(images + 1 - won)
        if won > lost and stats.binomtest(won, won + lost).pvalue < 0.05
    )  # fmt: skip
    assert mcnemar_power(images, gap, apart) == pytest.approx(told)
    assert told >= 0.8
    assert mcnemar_power(images - 1, gap, apart) < 0.8


def answers(seeds, images, won, lost=0):
    """Of trainings that answer alike."""
    first, second = np.zeros((2, seeds, images), dtype=bool)
    second[:, :won], first[:, images - lost :] = True, lost > 0
    return first, second


@pytest.mark.parametrize(
    ("seeds", "images", "won", "p"), [(2, 1000, 4, 0.125), (3, 10, 5, 0.0625), (3, 100, 4, 0.125), (5, 1, 1, 1.0)]
)
def test_equal_trainings_are_no_surer_than_one(seeds, images, won, p):
    pair = paired_difference(*answers(seeds, images, won))
    one = paired_difference(*(which[0] for which in answers(1, images, won)))
    assert pair.p == pytest.approx(p)
    assert pair.p >= one.p - 1e-9
    assert pair.low <= 0 < pair.high
    assert pair.low <= one.low + 1e-9


def test_few_images_that_differ_are_told_by_all_their_signs():
    first, second = answers(3, 50, 7)
    first[0, 3] = second[0, 3]  # one training differs on one image
    gains = (second.astype(float) - first).mean(0)[:7]
    every = [abs(np.dot(gains, signs)) >= gains.sum() - 1e-9 for signs in product((1, -1), repeat=7)]
    assert sign_p(gains, 3) == pytest.approx(np.mean(every))
    assert paired_difference(first, second).p == pytest.approx(max(np.mean(every), mean_gain(second ^ first).p))
    assert sign_p([]) == 1
    assert sign_p([0.5, -0.5], 2) == 1


@pytest.mark.parametrize(("won", "lost"), [(11, 3), (12, 4), (30, 14), (120, 80), (5, 5), (0, 9)])
def test_the_signs_of_answers_are_mcnemars_test(won, lost):
    exact = stats.binomtest(won, won + lost).pvalue
    assert sign_p([1] * won + [-1] * lost + [0] * 40) == pytest.approx(exact)
    first, second = np.zeros((2, 3, 900), dtype=bool)
    second[:, :won], first[:, 900 - lost :] = True, lost > 0
    assert paired_difference(first, second).p >= exact - 1e-9


def test_what_is_told_apart_has_an_interval_without_zero():
    random, told = np.random.default_rng(4), 0
    for _ in range(600):
        first, second = np.zeros((2, random.integers(2, 6), 150), dtype=bool)
        places = random.permutation(150)[: random.integers(3, 25)]
        better = random.random(len(first)) < 0.9
        second[:, places] = (random.random((len(first), len(places))) < 0.9) & better[:, None]
        first[:, places[:2]] ^= random.random((len(first), 2)) < 0.5
        pair = paired_difference(first, second)
        assert pair.told_apart == (not pair.low <= 0 <= pair.high)
        told += pair.told_apart
    assert 50 < told < 550


def test_trainings_with_images_of_their_own_that_few_tell():
    """Each gains one image of about twenty: their means agree, and yet three images say nothing."""
    first = [np.zeros(size, dtype=bool) for size in (20, 20, 21)]
    second = [one | (np.arange(len(one)) == 3) for one in first]
    pair = paired_trainings(first, second)
    assert pair.p == pytest.approx(0.25)
    assert pair.low <= 0 < pair.difference


def test_the_mean_of_pairs_is_students():
    first, second = np.array([0.8, 0.88, 0.83, 0.8]), np.array([0.91, 0.94, 0.9, 0.93])
    pair, expected = mean_difference(first, second), stats.ttest_rel(second, first)
    assert (pair.pairs, pair.difference) == (4, pytest.approx((second - first).mean()))
    assert (pair.low, pair.high) == pytest.approx(expected.confidence_interval(0.95))
    assert pair.p == pytest.approx(expected.pvalue)


def test_the_ends_of_the_mean_of_pairs():
    one = mean_difference([0.5], [0.7])
    assert (one.difference, one.low, one.high, one.p) == (pytest.approx(0.2), -np.inf, np.inf, 1)
    assert mean_difference([0.5, 0.5], [0.5, 0.5]).p == 1
    alike = mean_difference([0.25, 0.5], [0.5, 0.75])  # how much pairs vary is not known
    assert (alike.difference, alike.low, alike.high, alike.p) == (0.25, -np.inf, np.inf, 1)
    for first, second in (([0.1], [0.1, 0.2]), ([], [])):
        with pytest.raises(ValueError, match="as many figures"):
            mean_difference(first, second)


def test_splits_of_the_same_images_are_no_independent_repetitions():
    """Nadeau & Bengio's variance, by hand; and how often a difference is found that is none.

    Five splits of 400 images, of which 160 are tested each; both models are right equally often, each image's gain
    is the same in every split. Student's t finds a difference in more than a fifth of the cases.
    """
    first, second = [0.5, 0.6, 0.4, 0.7], [0.6, 0.6, 0.5, 0.9]
    plain, wider = mean_difference(first, second), mean_difference(first, second, overlap=2 / 3)
    assert wider.difference == plain.difference
    assert (wider.high - wider.low) / (plain.high - plain.low) == pytest.approx(((1 / 4 + 2 / 3) / (1 / 4)) ** 0.5)
    deviation = np.std(np.subtract(second, first), ddof=1) * (1 / 4 + 2 / 3) ** 0.5
    assert wider.p == pytest.approx(2 * stats.t.sf(wider.difference / deviation, 3))
    random, found = np.random.default_rng(0), {0.0: 0, 2 / 3: 0}
    for _ in range(400):
        gains = random.choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=400)
        splits = [gains[random.permutation(400)[:160]].mean() for _ in range(5)]
        for overlap in found:
            found[overlap] += mean_difference(np.zeros(5), splits, overlap=overlap).p < 0.05
    assert found[2 / 3] / 400 <= 0.08
    assert found[0.0] / 400 > 0.2
