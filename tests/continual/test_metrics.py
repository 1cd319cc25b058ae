"""Metrics of continual learning against numbers worked out by hand."""

import warnings

import numpy as np
import pytest

from tlcl.continual.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    cumulative_accuracy,
    forgetting,
    forward_transfer,
    summarise,
)

NAN = float("nan")
# Task 0 is at its best after task 1 (0.95), and task 1 before its own training (0.99), which is no knowledge of it.
FULL = np.array([[0.90, 0.99, 0.10], [0.95, 0.80, 0.30], [0.50, 0.70, 0.95]])
SIZES = [10, 20, 30]
UNTRAINED = [0.50, 0.49, 0.40]
# A class-incremental learner: tasks to come are not measured.
LOWER = np.array([[0.90, NAN, NAN], [0.95, 0.80, NAN], [0.50, 0.70, 0.95]])
# Joint training: one training, one row.
JOINT = np.array([[NAN, NAN, NAN], [NAN, NAN, NAN], [0.50, 0.70, 0.95]])


@pytest.mark.parametrize("matrix", [FULL, LOWER], ids=["full", "lower"])
def test_cumulative_accuracy_weighs_tasks_by_their_images(matrix: np.ndarray) -> None:
    # (9.5 + 16) / 30 = 0.85; (5 + 14 + 28.5) / 60 = 47.5 / 60
    np.testing.assert_allclose(cumulative_accuracy(matrix, SIZES), [0.90, 0.85, 0.7916666667])
    # (0.90 + 0.85 + 0.7916666667) / 3
    assert average_incremental_accuracy(matrix, SIZES) == pytest.approx(0.8472222222)


def test_a_task_without_images_does_not_count_in_the_cumulative_accuracy() -> None:
    """As on validation images when they are fewer than the tasks."""
    matrix = np.array([[NAN, NAN, NAN], [NAN, 0.80, NAN], [NAN, 0.70, 0.95]])
    # nothing; 0.80; (14 + 28.5) / 50
    np.testing.assert_allclose(cumulative_accuracy(matrix, [0, 20, 30]), [NAN, 0.80, 0.85])
    assert summarise(matrix, [0, 20, 30], UNTRAINED)["final_accuracy"] == pytest.approx(0.85)


@pytest.mark.parametrize("matrix", [FULL, LOWER], ids=["full", "lower"])
def test_average_accuracy_weighs_tasks_equally(matrix: np.ndarray) -> None:
    # (0.95 + 0.80) / 2; (0.50 + 0.70 + 0.95) / 3
    np.testing.assert_allclose(average_accuracy(matrix), [0.90, 0.875, 0.7166666667])


def test_cumulative_is_average_for_equal_sizes() -> None:
    np.testing.assert_allclose(cumulative_accuracy(FULL, [7, 7, 7]), average_accuracy(FULL))


@pytest.mark.parametrize("matrix", [FULL, LOWER], ids=["full", "lower"])
def test_forgetting_starts_at_the_own_training(matrix: np.ndarray) -> None:
    # 0.95 - 0.50, and 0.80 - 0.70 (not 0.99 - 0.70)
    np.testing.assert_allclose(forgetting(matrix), [0.45, 0.10])


def test_forgetting_is_negative_when_a_task_goes_on_rising() -> None:
    matrix = np.array([[0.5, NAN], [0.7, 0.6]])
    np.testing.assert_allclose(forgetting(matrix), [-0.2])
    assert backward_transfer(matrix) == pytest.approx(0.2)


@pytest.mark.parametrize("matrix", [FULL, LOWER], ids=["full", "lower"])
def test_backward_transfer_is_against_the_own_training(matrix: np.ndarray) -> None:
    # ((0.50 - 0.90) + (0.70 - 0.80)) / 2
    assert backward_transfer(matrix) == pytest.approx(-0.25)


def test_forward_transfer() -> None:
    # ((0.99 - 0.49) + (0.30 - 0.40)) / 2
    assert forward_transfer(FULL, UNTRAINED) == pytest.approx(0.20)
    assert np.isnan(forward_transfer(LOWER, UNTRAINED))


def test_definitions_against_loops() -> None:
    """Random matrices of five tasks of unequal size, by the formulas' sums written out."""
    random = np.random.default_rng(0)
    for _ in range(20):
        total = 5
        matrix, b = random.random((total, total)), random.random(total)
        sizes = random.integers(1, 50, total).tolist()
        correct = [sum(sizes[j] * matrix[i, j] for j in range(i + 1)) / sum(sizes[: i + 1]) for i in range(total)]
        np.testing.assert_allclose(cumulative_accuracy(matrix, sizes), correct)
        lost = [max(matrix[i, j] for i in range(j, total - 1)) - matrix[-1, j] for j in range(total - 1)]
        np.testing.assert_allclose(forgetting(matrix), lost)
        backward = sum(matrix[-1, j] - matrix[j, j] for j in range(total - 1)) / (total - 1)
        assert backward_transfer(matrix) == pytest.approx(backward)
        forward = sum(matrix[j - 1, j] - b[j] for j in range(1, total)) / (total - 1)
        assert forward_transfer(matrix, b) == pytest.approx(forward)


def rounded(summary: dict) -> dict:
    def near(value: object) -> object:
        if isinstance(value, list):
            return [near(one) for one in value]
        return None if value is None else round(float(value), 6)  # type: ignore[arg-type]

    return {key: near(value) for key, value in summary.items()}


def test_summary_of_a_full_matrix() -> None:
    assert rounded(summarise(FULL, SIZES, UNTRAINED)) == {
        "cumulative_accuracy": [0.9, 0.85, 0.791667],
        "final_accuracy": 0.791667,
        "average_accuracy": 0.716667,
        "average_incremental_accuracy": 0.847222,
        "forgetting": 0.275,
        "forgetting_by_task": [0.45, 0.1],
        "backward_transfer": -0.25,
        "forward_transfer": 0.2,
    }


def test_summary_without_tasks_to_come() -> None:
    """As of the full matrix, but no forward transfer."""
    full, lower = summarise(FULL, SIZES, UNTRAINED), summarise(LOWER, SIZES, [NAN] * 3)
    assert lower == {**full, "forward_transfer": None}


def test_summary_of_joint_training_is_its_last_row() -> None:
    """Nothing else is defined, and nothing warns of the NaNs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarise(JOINT, SIZES, [NAN] * 3)
    assert rounded(summary) == {
        "cumulative_accuracy": [None, None, 0.791667],
        "final_accuracy": 0.791667,
        "average_accuracy": 0.716667,
        "average_incremental_accuracy": None,
        "forgetting": None,
        "forgetting_by_task": [None, None],
        "backward_transfer": None,
        "forward_transfer": None,
    }


def test_summary_holds_plain_numbers() -> None:
    for value in summarise(FULL, SIZES, UNTRAINED).values():
        for one in value if isinstance(value, list) else [value]:
            assert type(one) is float
