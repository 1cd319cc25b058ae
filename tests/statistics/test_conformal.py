"""Sets of classes: the coverage that is promised by simulation, and a case by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tlcl.statistics.conformal import largest_coverage, prediction_sets, score_limit, true_class_scores


def test_a_case_by_hand() -> None:
    held_out = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    scores = true_class_scores(held_out, [0, 1, 1, 2])
    assert scores == pytest.approx([0.2, 0.3, 0.4, 0.7])
    # ceil(5 x 0.5) = 3, ceil(5 x 0.8) = 4, ceil(5 x 0.9) = 5 of 4.
    assert score_limit(scores, 0.5) == pytest.approx(0.4)
    assert score_limit(scores, 0.8) == pytest.approx(0.7)
    assert score_limit(scores, 0.9) == math.inf
    new = [[0.65, 0.35, 0.0], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33]]
    none = [False] * 3
    assert prediction_sets(new, score_limit(scores, 0.5)).tolist() == [[True, False, False], none, none]
    assert prediction_sets(new, 0.675).tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert prediction_sets(new, math.inf).all()


@pytest.mark.parametrize("coverage", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_the_rank_is_exact(coverage: float) -> None:
    for count in range(1, 400):
        rank = math.ceil((count + 1) * Fraction(str(coverage)))
        expected = rank if rank <= count else math.inf
        assert score_limit(np.arange(1, count + 1), coverage) == expected
        assert (expected < math.inf) == (coverage <= largest_coverage(count) + 1e-12)


@pytest.mark.parametrize(("count", "coverage"), [(20, 0.8), (35, 0.9), (60, 0.95), (99, 0.99)])
def test_coverage_over_many_draws(count: int, coverage: float) -> None:
    """The mean is ceil((n + 1) coverage) / (n + 1), however far from honest the probabilities are."""
    random, draws, new = np.random.default_rng(5), 4000, 10
    logits = random.normal(0, 3, (draws, count + new, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    noisy = logits / 2 + random.gumbel(size=logits.shape)
    labels = noisy.argmax(2)
    held = []
    for given, answers in zip(probabilities, labels, strict=True):
        limit = score_limit(true_class_scores(given[:count], answers[:count]), coverage)
        sets = prediction_sets(given[count:], limit)
        held.append(sets[np.arange(new), answers[count:]].mean())
    expected = math.ceil((count + 1) * coverage - 1e-9) / (count + 1)
    error = np.std(held) / math.sqrt(draws)
    assert coverage <= expected < coverage + 1 / (count + 1)
    assert abs(np.mean(held) - expected) < 4 * error
