"""Pictures of a domain adaptation, drawn from its records alone."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from tlcl.reports.plots.predictions import tested_figures
from tlcl.reports.plots.style import BLUE, GREEN, ORANGE, save_figures
from tlcl.reports.plots.time import time_figures
from tlcl.reports.plots.training import epoch_axis, milestone_lines, thaw_timeline
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import read_object

UNLABELLED = "#999999"
NAMED = 20  # classes that colours can tell apart
DOMAINS = (("source", BLUE, "o"), ("target", ORANGE, "x"))
STAGES = (("before", "Before training"), ("after", "After training"))


def adaptation_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Against the epoch: accuracies and the target's entropy, and the terms of the loss, unweighted."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    shares, losses = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(metrics) < 3 else None

    def draw(axes: Axes, key: str, label: str, colour: Any, style: str = "-") -> None:
        if key in metrics[0]:
            values = [line[key] for line in metrics]
            axes.plot(epochs, values, style, color=colour, label=label, marker=marker, linewidth=2)

    draw(shares, "train/acc", "accuracy in training", ORANGE)
    draw(shares, "val/acc", "accuracy, source validation", BLUE)
    draw(shares, "val/target_entropy", "entropy of target predictions (1: uniform)", GREEN, "--")
    draw(losses, "train/loss", "total", "#222222")
    parts = [key for key in metrics[0] if key.startswith("train/") and key not in ("train/loss", "train/acc")]
    for number, key in enumerate(parts):
        draw(losses, key, key.removeprefix("train/"), colormaps["Dark2"](number % 8), "--")
    for axes, name in ((shares, "share"), (losses, "training loss")):
        milestone_lines(axes, metrics)
        epoch_axis(axes, metrics)
        axes.set_ylabel(name)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    shares.set_ylim(0, 1.04)
    return figure


def embedding_maps(
    maps: Mapping[str, np.ndarray], labels: np.ndarray, domains: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Maps before and after, side by side: above by domain, below by class; the target's images are crosses.

    Args:
        maps: name of the stage -> (N, 2).
        labels, domains: int (N,); domain 0 is the source, label -1 unknown.
    """
    by_class = len(classes) <= NAMED
    figure = Figure(figsize=(11, 10 if by_class else 5.2), layout="constrained")
    rows = figure.subplots(2 if by_class else 1, 2, squeeze=False)
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for column, (stage, title) in enumerate(STAGES):
        points = maps[stage]
        rows[0, column].set_title(title)
        for domain, (name, colour, marker) in enumerate(DOMAINS):
            here = domains == domain
            style: dict[str, Any] = {"s": 16, "marker": marker, "alpha": 0.6, "linewidths": 1.0}
            rows[0, column].scatter(*points[here].T, color=colour, label=name, **style)
            if by_class:
                shown = np.where((labels[here] < 0)[:, None], to_rgba(UNLABELLED), colours(labels[here]))
                rows[1, column].scatter(*points[here].T, color=shown, **style)
    for axes in rows.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    rows[0, 1].legend(title="domain", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if by_class:
        for number, name in enumerate(classes):
            rows[1, 1].scatter([], [], color=colours(number), label=name, s=30)
        legend = rows[1, 1].legend(title="class", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


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
    metrics = FinishedRun(run_dir).metrics
    if metrics:
        figures["curves"] = adaptation_curves(metrics)
        figures["thaw"] = thaw_timeline(metrics)
    return save_figures(run_dir, {**figures, **time_figures(run_dir), **tested_figures(run_dir)})
