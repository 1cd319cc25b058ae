"""Tables, charts and pictures for W&B, from a run's records alone."""

from pathlib import Path
from typing import Any

import numpy as np
import wandb

from tlcl.tracking.accuracy_matrix import Measured, task_names
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.predictions import Predictions

ACCURACY_MATRIX, CONFUSION_MATRIX, PLOTS = "accuracy_matrix", "confusion_matrix", "plots"
MOST_CLASSES = 100  # W&B shows at most 10,000 rows of a chart's table, and the chart has one for each pair


def accuracy_table(measured: Measured) -> wandb.Table:
    """A row for each task trained, a column for each task tested; accuracies in 0..1, empty where not measured."""
    names = [f"{number}: {name}" for number, name in enumerate(task_names(measured.tasks), start=1)]
    rows = [
        [name, *(None if np.isnan(value) else float(value) for value in row)]
        for name, row in zip(names, measured.matrix, strict=False)
    ]
    return wandb.Table(columns=["after training on", *(f"on {name}" for name in names)], data=rows)


def confusion_chart(tested: Predictions) -> Any:
    """W&B's own chart of true against predicted classes."""
    return wandb.plot.confusion_matrix(
        y_true=tested.labels.tolist(),
        preds=tested.probabilities.argmax(1).tolist(),
        class_names=tested.classes,
        title="Test images by true and predicted class",
    )


def run_media(run_dir: Path) -> dict[str, Any]:
    """Everything but numbers that W&B gets of a finished run, by the key it is logged under.

    The plots (heat maps of the accuracy matrix and of the confusion matrix among them) as pictures, both matrices
    as tables; the chart of the confusion matrix is left out when there are more than `MOST_CLASSES`.
    """
    media: dict[str, Any] = {
        f"{PLOTS}/{path.stem}": wandb.Image(str(path)) for path in sorted((run_dir / "plots").glob("*.png"))
    }
    run = FinishedRun(run_dir)
    measured, tested = run.matrix, run.predictions
    if measured is not None:
        media[ACCURACY_MATRIX] = accuracy_table(measured)
    if tested is not None and len(tested.classes) <= MOST_CLASSES:
        media[CONFUSION_MATRIX] = confusion_chart(tested)
    return media
