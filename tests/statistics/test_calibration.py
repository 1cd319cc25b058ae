"""Temperature and calibration error against torch, torchmetrics, hand-computed values and a simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from tlcl.statistics.calibration import (
    TEMPERATURES,
    fit_score_temperature,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    tempered,
)


def answers(count: int, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, the probabilities that they are, and labels drawn by just these probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, classes))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (honest.cumsum(1) > random.random((count, 1))).argmax(1)
    return logits, honest, labels


def confidence(scores: np.ndarray, temperature: float) -> float:
    """Mean of the largest probability."""
    return float(torch.from_numpy(scores / temperature).softmax(1).max(1).values.mean())


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_answers_too_sure(factor: float) -> None:
    logits, honest, labels = answers(20_000)
    given = torch.from_numpy(factor * logits).softmax(1).numpy()
    temperature = fit_temperature(given, labels)
    assert temperature == pytest.approx(factor, rel=0.03)
    assert np.allclose(tempered(given, factor), honest, atol=1e-9)
    assert reliability(tempered(given, temperature), labels).ece < 0.015


def test_the_temperature_has_the_lowest_loss() -> None:
    """By torch's own cross-entropy of the scaled logits, on a grid around it, and where its slope vanishes."""
    logits, _, labels = answers(150, seed=1)
    known, wanted = torch.from_numpy(2.5 * logits), torch.from_numpy(labels)
    temperature = fit_temperature(known.softmax(1).numpy(), labels)

    def loss(value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(known / value, wanted)

    here = torch.tensor(temperature, requires_grad=True)
    loss(here).backward()
    assert abs(float(here.grad)) < 1e-4  # type: ignore[arg-type]
    for other in np.geomspace(*TEMPERATURES, 200):
        assert loss(torch.tensor(other)) >= loss(torch.tensor(temperature)) - 1e-9
    assert negative_log_likelihood(tempered(known.softmax(1).numpy(), temperature), labels) == pytest.approx(
        float(loss(here).detach())
    )


def test_a_case_by_hand() -> None:
    """All three answers say 0.9 and two are right: the best that one temperature can say is two thirds."""
    given, labels = [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], [0, 1, 1]
    temperature = fit_temperature(given, labels)
    assert temperature == pytest.approx(np.log(9) / np.log(2), rel=1e-4)
    assert tempered(given, temperature).max(1) == pytest.approx([2 / 3] * 3, abs=1e-5)
    found = reliability(given, labels)
    assert found.ece == pytest.approx(0.9 - 2 / 3)
    assert found.counts.tolist() == [0] * 13 + [3, 0]  # 13/15 < 0.9 <= 14/15
    assert found.accuracy[13] == pytest.approx(2 / 3)
    assert np.isnan(found.accuracy[0])
    assert negative_log_likelihood(given, labels) == pytest.approx(-(2 * np.log(0.9) + np.log(0.1)) / 3)


def test_where_nothing_says_how_sure_there_is_no_temperature() -> None:
    for said, labels in ((np.zeros((0, 2)), []), ([[0.9, 0.1], [0.2, 0.8]], [0, 1])):
        with pytest.raises(ValueError, match="wrong answer"):
            fit_temperature(said, labels)


def test_answers_that_are_worse_than_none_become_unsure() -> None:
    assert fit_temperature([[0.99, 0.01]] * 4, [1, 1, 1, 0]) == pytest.approx(TEMPERATURES[1], rel=1e-3)


@given(st.integers(2, 6), st.integers(1, 300), st.integers(1, 30), st.integers(0, 10**6))
def test_the_error_is_that_of_torchmetrics(classes: int, count: int, bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    given, labels = random.dirichlet(np.ones(classes), count), random.integers(classes, size=count)
    expected = multiclass_calibration_error(
        torch.from_numpy(given), torch.from_numpy(labels), classes, n_bins=bins, norm="l1"
    )
    found = reliability(given, labels, bins)
    assert found.ece == pytest.approx(float(expected), abs=1e-6)
    assert found.counts.sum() == count


@given(st.integers(2, 8), st.floats(0.05, 20), st.integers(0, 10**6))
def test_the_answer_stays(classes: int, temperature: float, seed: int) -> None:
    given = np.random.default_rng(seed).dirichlet(np.ones(classes), 20).astype(np.float32)
    found = tempered(given, temperature)
    assert (found.argmax(1) == given.argmax(1)).all()
    assert found.sum(1) == pytest.approx(np.ones(20))


def test_a_probability_of_zero_is_no_fault() -> None:
    assert tempered([[1.0, 0.0]], 2.0)[0] == pytest.approx([1, 0], abs=1e-15)
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(-np.log(1e-12))
    assert np.isnan(reliability(np.zeros((0, 3)), np.zeros(0, int)).ece)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 300.0])
def test_scores_of_any_unit_and_origin_become_the_same_probabilities(unit: float) -> None:
    logits, honest, labels = answers(5_000)
    scores = unit * (logits + 7)
    temperature = fit_score_temperature(scores, labels)
    assert temperature == pytest.approx(unit, rel=0.05)
    probabilities = torch.from_numpy(scores / temperature).softmax(1).numpy()
    assert abs(probabilities - honest).max() < 0.03


def test_a_network_that_has_forgotten_is_as_sure_as_it_is_right() -> None:
    """It answers with the last two of ten classes whatever it is shown: 20 % right at most. The likeliest
    temperature of just these scores leaves it surer than that."""
    random = np.random.default_rng(5)
    labels = np.arange(2000) % 10
    scores = random.normal(0, 1, (2000, 10)) - 6.0
    scores[:, 8:] += 12 + random.exponential(4, (2000, 2))
    scores[np.arange(2000), labels] += 3.0
    right = (scores.argmax(1) == labels).mean()

    assert 0.1 < right < 0.2
    assert confidence(scores, fit_score_temperature(scores, labels)) == pytest.approx(right, abs=0.001)
    likeliest = fit_temperature(torch.from_numpy(scores).softmax(1).numpy(), labels)
    assert confidence(scores, likeliest) > right + 0.03


def test_what_cannot_be_the_answer_changes_nothing() -> None:
    logits, _, labels = answers(300, seed=3)
    more = np.concatenate([logits, np.full((300, 2), -np.inf)], axis=1)
    assert fit_score_temperature(more, labels) == pytest.approx(fit_score_temperature(logits, labels), rel=1e-4)


def test_all_right_is_laplaces_rule() -> None:
    """98 of 98 right: the next one is, with 99 in 100."""
    logits, _, _ = answers(98, seed=4)
    right = logits.argmax(1)
    temperature = fit_score_temperature(1000 * logits, right)
    confidence = torch.from_numpy(1000 * logits / temperature).softmax(1).max(1).values.mean()
    assert float(confidence) == pytest.approx(0.99, abs=1e-4)
    with pytest.raises(ValueError, match="held-out"):
        fit_score_temperature(np.empty((0, 3)), [])
    for equal in (np.zeros((5, 1)), np.zeros((5, 3)), np.full((5, 3), np.nan), np.full((5, 3), -np.inf)):
        assert fit_score_temperature(equal, [0] * 5) == 1


def test_a_few_equal_scores_leave_the_others_as_sure_as_they_can_be() -> None:
    """All of 1,000 are right, but for two images the second class has the same score: 99.9 % is not to be had."""
    scores = np.zeros((1000, 10))
    scores[:, 0] = 12.0
    scores[:2, 1] = 12.0
    temperature = fit_score_temperature(scores, np.zeros(1000, int))
    assert confidence(scores, temperature) == pytest.approx(0.999)


def test_scores_that_are_no_numbers_have_no_say() -> None:
    logits, _, labels = answers(300, seed=6)
    more = np.concatenate([logits, np.full((2, 5), -np.inf), np.full((2, 5), np.nan)])
    wanted = fit_score_temperature(logits, labels)
    assert fit_score_temperature(more, np.concatenate([labels, [0] * 4])) == wanted


def test_answers_that_are_never_right_are_as_unsure_as_can_be_and_stay_the_same() -> None:
    logits = np.random.default_rng(7).normal(0, 1, (20_000, 10)).astype(np.float32)
    temperature = fit_score_temperature(logits, logits.argmin(1))
    assert confidence(logits, temperature) == pytest.approx(0.1, abs=0.01)
    given = torch.from_numpy(logits)
    assert torch.equal((given / temperature).softmax(1).argmax(1), given.argmax(1))


def test_accuracy_on_the_held_out_images_is_the_mean_confidence() -> None:
    logits, _, labels = answers(500, seed=8)
    right = (int((logits.argmax(1) == labels).sum()) + 1) / 502
    for unit in (1e-3, 1.0, 1e3):
        temperature = fit_score_temperature(unit * logits, labels)
        assert confidence(unit * logits, temperature) == pytest.approx(right, abs=1e-4)
