"""Pictures of a continual run, drawn from its accuracy matrix and records alone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlcl.continual.metrics import cumulative_accuracy
from tlcl.reports.plots.predictions import tested_figures
from tlcl.reports.plots.style import BLUE, GREY, INK, ORANGE, percent_formatter, percent_ticks, save_figures
from tlcl.reports.plots.time import time_figures
from tlcl.system.figures import percent, points
from tlcl.tracking.accuracy_matrix import NAMED, Measured, task_names
from tlcl.tracking.finished_run import FinishedRun


def task_axis(axes: Axes, tasks: Sequence[Sequence[str]], label: str) -> None:
    names = task_names(tasks)
    slanted = max(map(len, names)) > 9
    rotation, side = (25, "right") if slanted else (0, "center")
    axes.set_xticks(range(len(names)), names, rotation=rotation, ha=side, parse_math=False)
    axes.set_xlabel(label)


def percent_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1.04)
    percent_ticks(axes.yaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def what_comes(scenario: str | None) -> str:
    """What a stream brings task by task: `classes`, or `domains` of the same classes."""
    return "domains" if scenario == "domain_incremental" else "classes"


def cumulative_curve(measured: Measured, comes: str = "classes") -> Figure:
    """Accuracy on all classes (or what else comes) so far after each task, beside the newest task's alone."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    values = cumulative_accuracy(measured.matrix, measured.sizes)
    axes.plot(range(len(values)), values, "o-", color=BLUE, linewidth=2.5, label=f"all {comes} so far")
    newest = measured.matrix.diagonal()
    axes.plot(range(len(newest)), newest, "o--", color=ORANGE, linewidth=1.5, label="the newest task alone")
    for place, value in enumerate(values):
        if not np.isnan(value):
            # On the side where neither line runs: a falling line comes from above left.
            below = newest[place] >= value
            axes.annotate(
                percent(value), (place, value), (-4, -15) if below else (8, 6), textcoords="offset points",
                ha="right" if below else "left", color=BLUE, fontsize=9,
            )  # fmt: skip
    task_axis(axes, measured.tasks, "after training on")
    axes.set_xlim(-0.4, len(measured.tasks) - 0.6)
    percent_axis(axes)
    axes.set_ylabel("test accuracy")
    axes.legend(frameon=False, loc="lower left")
    known = values[~np.isnan(values)]
    if len(known) > 1:
        first, last = percent(known[0]), percent(known[-1])
        axes.set_title(f"From {first} after the first task to {last} after the last", fontsize=11)
    return figure


def accuracy_heatmap(measured: Measured) -> Figure:
    """The accuracy matrix: rows after which training, columns on which task's test images."""
    matrix, count = measured.matrix, len(measured.tasks)
    size = min(12.0, 2.2 + 0.85 * count)
    figure = Figure(figsize=(size + 2.2, size), layout="compressed")
    axes = figure.subplots()
    axes.set_facecolor(GREY)
    whole = np.full((count, count), np.nan)
    whole[: len(matrix)] = matrix
    image = axes.imshow(whole, cmap="viridis", vmin=0, vmax=1)
    if count <= NAMED:
        for row, column in zip(*np.nonzero(~np.isnan(whole)), strict=True):
            value = whole[row, column]
            colour = "white" if value < 0.6 else "black"
            axes.text(column, row, points(value), ha="center", va="center", color=colour, fontsize=10)
    names = task_names(measured.tasks, 14)
    slanted = max(map(len, names)) > 6
    axes.set_xticks(
        range(count), names, rotation=30 if slanted else 0, ha="right" if slanted else "center", parse_math=False
    )
    axes.set_yticks(range(count), names, parse_math=False)
    axes.set_xlabel("tested on")
    axes.set_ylabel("after training on")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02, format=percent_formatter())
    bar.set_label("test accuracy")
    axes.set_title("Accuracy matrix in %; grey = not measured", fontsize=11)
    return figure


def task_curves(measured: Measured) -> Figure:
    """A line a task: its accuracy from its own training on."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    last = max(1, len(measured.tasks) - 1)
    for task, name in enumerate(task_names(measured.tasks)):
        values = measured.matrix[task:, task]
        if not np.isnan(values).all():
            colour = colormaps["viridis"](0.9 * task / last)
            axes.plot(range(task, task + len(values)), values, "o-", color=colour, linewidth=2, label=name)
    task_axis(axes, measured.tasks, "after training on")
    axes.set_xlim(-0.4, len(measured.tasks) - 0.6)
    percent_axis(axes)
    axes.set_ylabel("test accuracy on the task")
    if len(measured.tasks) <= NAMED:
        axes.legend(frameon=False, title="task", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def training_curve(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Training loss epoch by epoch, through all tasks."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots()
    losses = [line["train/loss"] for line in lines]
    axes.plot(range(len(losses)), losses, color=ORANGE, linewidth=2, marker="o" if len(losses) < 30 else None)
    for place, (before, now) in enumerate(pairwise(lines)):
        if before["task"] != now["task"]:
            axes.axvline(place + 0.5, color=INK, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epochs, all tasks; a dashed line where a task begins")
    axes.set_ylabel("training loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure


def save_matrix_plots(run_dir: Path) -> list[Path]:
    """The curve, the heat map and the tasks' lines of the accuracy matrix so far; drawn anew after each task."""
    measured = FinishedRun(run_dir).matrix
    if measured is None:
        return []
    figures = {
        "cumulative": cumulative_curve(measured, what_comes(FinishedRun(run_dir).setting("continual.scenario"))),
        "matrix": accuracy_heatmap(measured),
        "tasks": task_curves(measured),
    }
    return save_figures(run_dir, figures)


def save_continual_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    lines = FinishedRun(run_dir).metrics
    training = {"training": training_curve(lines)} if lines else {}
    figures = {**training, **time_figures(run_dir), **tested_figures(run_dir)}
    return save_matrix_plots(run_dir) + save_figures(run_dir, figures)
