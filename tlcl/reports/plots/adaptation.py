"""Pictures of a domain adaptation, drawn from its records alone."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlcl.reports.plots.predictions import tested_figures
from tlcl.reports.plots.style import BLUE, GREEN, INK, ORANGE, colour_of, percent_ticks, save_figures, short
from tlcl.reports.plots.time import time_figures
from tlcl.reports.plots.training import course_of, epoch_axis, mark_epoch, milestone_lines, thaw_timeline
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import read_object

UNLABELLED = "#999999"
NAMED = 20  # classes that there is room to name
DOMAINS = (("source", BLUE, "o"), ("target", ORANGE, "x"))
STAGES = (("before", "Before training"), ("after", "After training"))


def adaptation_curves(metrics: Sequence[Mapping[str, Any]], tested: int | None = None) -> Figure:
    """Against the epoch: accuracies and the target's entropy, and the terms of the loss, unweighted.

    Args:
        tested: the epoch whose weights were tested, which is marked; None: none is.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    shares, losses = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(metrics) < 3 else None

    def draw(axes: Axes, key: str, label: str, colour: Any, style: str = "-") -> None:
        values = [line.get(key, np.nan) for line in metrics]  # a term may begin later
        if not np.isnan(np.array(values, dtype=float)).all():
            axes.plot(epochs, values, style, color=colour, label=label, marker=marker, linewidth=2)

    draw(shares, "train/acc", "accuracy in training", ORANGE)
    draw(shares, "val/acc", "accuracy, source validation", BLUE)
    draw(shares, "val/target_entropy", "entropy of target predictions (1: uniform)", GREEN, "--")
    draw(losses, "train/loss", "total", INK)
    keys = dict.fromkeys(key for line in metrics for key in line if key.startswith("train/"))
    parts = [key for key in keys if key not in ("train/loss", "train/acc")]
    for number, key in enumerate(parts):
        draw(losses, key, key.removeprefix("train/"), colour_of(number), "--")
    for axes, name in ((shares, "share"), (losses, "training loss")):
        if tested is not None:
            mark_epoch(axes, tested)
        milestone_lines(axes, metrics)
        epoch_axis(axes, metrics)
        axes.set_ylabel(name)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    shares.set_ylim(0, 1.04)
    percent_ticks(shares.yaxis)
    return figure


def embedding_maps(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, domains: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Maps before and after, side by side: above by domain, below by class; the target's images are crosses.

    Below, each class is named in the middle of its source images, since colours come back after the seventh.

    Args:
        maps: name of the stage -> (N, 2).
        labels, domains: int (N,); domain 0 is the source, label -1 unknown.
    """
    by_class = len(classes) <= NAMED
    figure = Figure(figsize=(10, 10 if by_class else 5.2), layout="constrained")
    rows = figure.subplots(2 if by_class else 1, 2, squeeze=False)
    for column, (stage, title) in enumerate(STAGES):
        points = maps[stage]
        rows[0, column].set_title(title)
        for domain, (name, colour, marker) in enumerate(DOMAINS):
            here = domains == domain
            style: dict[str, Any] = {"s": 16, "marker": marker, "alpha": 0.6, "linewidths": 1.0}
            rows[0, column].scatter(*points[here].T, color=colour, label=name, **style)
            if by_class:
                colours = [colour_of(label) if label >= 0 else UNLABELLED for label in labels[here]]
                rows[1, column].scatter(*points[here].T, color=colours, **style)
        if by_class:
            _name_classes(rows[1, column], points[domains == 0], labels[domains == 0], classes)
    for axes in rows.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    rows[0, 1].legend(title="domain", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _name_classes(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Each class's name at the median of its points (N, 2)."""
    for number, name in enumerate(classes):
        mine = points[labels == number]
        if len(mine):
            text = axes.annotate(
                short(name, 18), np.median(mine, 0), ha="center", va="center", fontsize=11, fontweight="bold",
                color=INK, parse_math=False,
            )  # fmt: skip
            text.set_path_effects([patheffects.withStroke(linewidth=3, foreground="white")])


def read_embedding(run_dir: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray] | None:
    """Maps, labels and domains of `embedding.npz`; None when it is missing or damaged."""
    try:
        with np.load(run_dir / "embedding.npz") as stored:
            return {stage: stored[stage] for stage, _ in STAGES}, stored["labels"], stored["domains"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def save_adaptation_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    figures: dict[str, Figure] = {}
    stored, classes = read_embedding(run_dir), read_object(run_dir / "labels.json").get("classes", [])
    if stored is not None and classes:
        figures["embedding"] = embedding_maps(*stored, classes)
    run = FinishedRun(run_dir)
    metrics = run.metrics
    if metrics:
        tested = course_of(run).tested
        figures["curves"] = adaptation_curves(metrics, tested)
        figures["thaw"] = thaw_timeline(metrics, tested)
    return save_figures(run_dir, {**figures, **time_figures(run_dir), **tested_figures(run_dir)})
