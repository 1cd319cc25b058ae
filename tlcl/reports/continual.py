"""The HTML page of a continual run, made from its directory alone."""

from pathlib import Path
from typing import Any

import numpy as np

from tlcl.config.registry import GROUPS
from tlcl.continual.metrics import cumulative_accuracy
from tlcl.reports.asked import CACHE, compare_command
from tlcl.reports.next_steps import compared_with, continual_step, recorded_path, resume_commands, use_commands
from tlcl.reports.page import (
    base_context,
    confused_pairs,
    embedded_plots,
    missing_records,
    per_class,
    render_page,
    worst_first,
)
from tlcl.reports.plots.continual import what_comes
from tlcl.reports.verdict import continual_verdict, one_answer
from tlcl.tracking.accuracy_matrix import MATRIX, task_names
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "cumulative": "Accuracy on the test images of all classes so far, and of the newest task alone, "
    "each when it had just been trained.",
    "matrix": "Each row: after training on that task; each column: tested on that task's images.",
    "tasks": "How the accuracy on each task goes on after its own training.",
    "training": "Training loss through all tasks.",
    "confusion": "After the last task: test images by true and predicted class.",
    "mistakes": "After the last task: the mistakes the network was surest of.",
    "time": "Where the time of each epoch went; the totals are in the legend.",
}
ALTERNATIVES = {
    "cumulative": "Line chart of the accuracy on all classes so far against the tasks; also in the table below",
    "matrix": "Heat map of the accuracy matrix; its figures are in accuracy_matrix.csv",
    "tasks": "Line chart with a line a task, its accuracy against the tasks trained since",
    "training": "Line chart of the training loss against the epochs of all tasks",
    "confusion": "Heat map of true against predicted classes; its figures by class are in the table below",
    "mistakes": "Grid of misclassified test images, each with its true class, predicted class and confidence",
    "time": "Stacked bars of the seconds of each epoch; the totals are in summary.json",
}
RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "summary.json": "the summary",
    f"{MATRIX}.json": "the accuracy matrix",
    "test_predictions.npz": "the test predictions",
}
# summary key -> name, what it is
FIGURES = {
    "task_given_accuracy": ("with the task given", "the same network, where only the image's task may answer"),
    "average_incremental_accuracy": ("average incremental accuracy", "mean of the curve over the tasks"),
    "average_accuracy": ("average accuracy", "mean over the tasks, after the last"),
    "forgetting": ("forgetting", "best accuracy a task ever had, less its last; mean over tasks"),
    "backward_transfer": ("backward transfer", "accuracy on a task after the last, less right after it"),
    "forward_transfer": ("forward transfer", "accuracy on a task before it is trained, less untrained"),
}


def _for_others(run: FinishedRun) -> list[str]:
    """What the compared methods are not given: where a closed form keeps outputs, which others draw anew."""
    methods, name = GROUPS["method"], run.setting("method.name")
    return [f"~{CACHE}"] if name in methods and methods[name].thing.closed_form else []


def write_continual_report(run_dir: Path) -> Path:
    """Write `report.html` from what is there; says what is not."""
    run = FinishedRun(run_dir)
    summary, measured, tested = run.summary, run.matrix, run.predictions
    seconds = {line["task"]: line["seconds"] for line in run.tasks}
    curve: list[dict[str, Any]] = []
    if measured is not None:
        names = task_names(measured.tasks)
        for index, value in enumerate(cumulative_accuracy(measured.matrix, measured.sizes)):
            newest = measured.matrix[index, index]
            curve.append(
                {
                    "name": names[index],
                    "all": None if np.isnan(value) else float(value),
                    "newest": None if np.isnan(newest) else float(newest),
                    "seconds": seconds.get(index + 1),
                }
            )
    comes = what_comes(run.setting("continual.scenario"))
    words = [
        {name: text.replace("all classes so far", f"all {comes} so far") for name, text in of.items()}
        for of in (CAPTIONS, ALTERNATIVES)
    ]
    path = recorded_path(run)
    compare = compare_command(
        run_dir, "method", "default", "continual_compare", str(run.setting("method.name")), compared_with(summary),
        anew=_for_others(run),
    )  # fmt: skip
    context: dict[str, Any] = {
        **base_context(run_dir, missing_records(run, RECORDS)),
        "plots": embedded_plots(run_dir, *words),
        "comes": comes,
        "curve": curve,
        "tasks": len(measured.tasks) if measured else None,
        "figures": [(name, about, summary.get(key)) for key, (name, about) in FIGURES.items()],
        "rows": worst_first(per_class(*tested[:3])) if tested is not None else [],
        "pairs": confused_pairs(*tested[:3]) if tested is not None else [],
        "commands": [use_commands(path)[0], ("compare the methods", compare)] if summary else resume_commands(path),
    }
    told = None not in [summary.get(key) for key in ("final_accuracy", "test_size", "method")]
    if measured is not None and told:
        within = summary.get("scenario") == "task_incremental"  # only the classes of the image's task are answered
        guess = {} if within or tested is None else one_answer(tested)
        context["verdict"] = continual_verdict(summary, len(measured.tasks), guess)
        context["advice"] = continual_step(summary)
    return render_page(run_dir, "continual.html.j2", context)
