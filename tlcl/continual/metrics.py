"""Every figure of continual learning as a function of the accuracy matrix and the tasks' sizes.

R (T, T): R[i, j] is the accuracy (0..1) on the test images of task j after training on task i, rows and columns
counted from 0; NaN where it was not measured (tasks to come whose classes cannot be answered yet, or the rows of
a joint training, which has only its last).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def cumulative_accuracy(matrix: Matrix, sizes: Sequence[int]) -> Matrix:
    """Accuracy on the test images of all classes so far, after each task: the paper's curve.

    C_i = sum_{j<=i} n_j R[i, j] / sum_{j<=i} n_j, with n_j test images in task j; a task with n_j = 0 does not
    count, and without any image C_i is NaN. Shape (T,).
    """
    weights = np.asarray(sizes, dtype=np.float64)
    hits = np.where(weights > 0, matrix * weights, 0.0)
    totals = weights.cumsum()
    return np.array([hits[i, : i + 1].sum() / totals[i] if totals[i] else np.nan for i in range(len(matrix))])


def average_accuracy(matrix: Matrix) -> Matrix:
    """A_i = mean_{j<=i} R[i, j] after each task (Chaudhry et al. 2018, "Riemannian walk"). Shape (T,)."""
    return np.array([matrix[i, : i + 1].mean() for i in range(len(matrix))])


def average_incremental_accuracy(matrix: Matrix, sizes: Sequence[int]) -> float:
    """Mean of the cumulative accuracies over all tasks (Rebuffi et al. 2017, section 4)."""
    return float(cumulative_accuracy(matrix, sizes).mean())


def forgetting(matrix: Matrix) -> Matrix:
    """f_j = max_{j<=i<T-1} R[i, j] - R[T-1, j] for each task but the last (Chaudhry et al. 2018, eq. 3).

    The maximum starts at the task's own training: before it, an accuracy is no knowledge to forget.
    Shape (T-1,), in -1..1; their mean is F.
    """
    last = len(matrix) - 1
    return np.array([matrix[j:last, j].max() - matrix[last, j] for j in range(last)])


def backward_transfer(matrix: Matrix) -> float:
    """BWT = mean_{j<T-1} R[T-1, j] - R[j, j] (Lopez-Paz & Ranzato 2017); negative is forgetting."""
    last = len(matrix) - 1
    return float(np.mean([matrix[last, j] - matrix[j, j] for j in range(last)]))


def forward_transfer(matrix: Matrix, untrained: Sequence[float]) -> float:
    """FWT = mean_{j>=1} R[j-1, j] - b_j (Lopez-Paz & Ranzato 2017).

    Args:
        untrained: b (T,), accuracy on each task before any training.

    NaN where tasks to come are not measured: a class-incremental learner cannot answer a class not yet seen.
    """
    return float(np.mean([matrix[j - 1, j] - untrained[j] for j in range(1, len(matrix))]))


def summarise(matrix: Matrix, sizes: Sequence[int], untrained: Sequence[float]) -> dict[str, Any]:
    """All of the above as plain numbers; None for what is not defined for this matrix."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    cumulative = [number(value) for value in cumulative_accuracy(matrix, sizes)]
    forgotten = forgetting(matrix)
    return {
        "cumulative_accuracy": cumulative,
        "final_accuracy": cumulative[-1],
        "average_accuracy": number(average_accuracy(matrix)[-1]),
        "average_incremental_accuracy": number(average_incremental_accuracy(matrix, sizes)),
        "forgetting": number(float(forgotten.mean())),
        "forgetting_by_task": [number(value) for value in forgotten],
        "backward_transfer": number(backward_transfer(matrix)),
        "forward_transfer": number(forward_transfer(matrix, untrained)),
    }
