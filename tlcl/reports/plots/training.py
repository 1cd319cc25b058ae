"""Pictures of a run, drawn from its records alone, in Okabe & Ito's colour-blind-safe colours."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from tlcl.reports.plots.cka import cka_figures
from tlcl.reports.plots.findings import finding_figures
from tlcl.reports.plots.predictions import tested_figures
from tlcl.reports.plots.reliability import reliability_figures
from tlcl.reports.plots.style import BLUE, GREY, ORANGE, save_figures
from tlcl.reports.plots.time import time_figures
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.selection import SCORES, SHORT_RULES

Metrics = Sequence[Mapping[str, Any]]


def milestones(metrics: Metrics) -> list[tuple[int, list[str]]]:
    """(epoch, blocks thawed at its start) wherever the trainable set grows after the first epoch."""
    found = []
    for before, now in pairwise(metrics):
        fresh = [block for block in now["trainable"] if block not in before["trainable"]]
        if fresh:
            found.append((int(now["epoch"]), fresh))
    return found


def epoch_axis(axes: Axes, metrics: Metrics) -> None:
    axes.set_xlabel("epoch")
    # Up to three epochs MaxNLocator would fall back to fractions, and there is no epoch 0.5.
    few = len(metrics) <= 3
    axes.xaxis.set_major_locator(
        FixedLocator([line["epoch"] for line in metrics]) if few else MaxNLocator(integer=True)
    )
    axes.set_xlim(metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5)
    axes.spines[["top", "right"]].set_visible(False)


def milestone_lines(axes: Axes, metrics: Metrics) -> None:
    """A dashed line before each thaw, named above the axes where no curve runs; near ones share a name."""
    near = 0.04 * len(metrics)  # a line of 8-point text is about 4 % of the axes wide
    named: list[tuple[float, list[str]]] = []
    for epoch, blocks in milestones(metrics):
        axes.axvline(epoch - 0.5, color="#555555", linestyle="--", linewidth=1)
        if named and epoch - 0.5 - named[-1][0] < near:
            named[-1][1].extend(blocks)
        else:
            named.append((epoch - 0.5, list(blocks)))
    for place, blocks in named:
        axes.annotate(
            f"thaw {', '.join(blocks)}",
            (place, 1.01),
            xycoords=("data", "axes fraction"),
            rotation=25,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
            fontsize=8,
            color="#555555",
        )


def learning_curves(metrics: Metrics, monitor: str = "accuracy") -> Figure:
    """Accuracy and loss against epoch, training and validation, with a dashed line at each thaw."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(metrics) < 3 else None
    for axes, quantity, name in zip(figure.subplots(1, 2), ("acc", "loss"), ("accuracy", "loss"), strict=True):
        for part, colour, label in (("train", ORANGE, "training"), ("val", BLUE, "validation")):
            values = [line[f"{part}/{quantity}"] for line in metrics]
            axes.plot(epochs, values, color=colour, label=label, marker=marker, linewidth=2)
        milestone_lines(axes, metrics)
        epoch_axis(axes, metrics)
        axes.set_ylabel(name)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    best = max(metrics, key=SCORES[monitor])
    rule = SHORT_RULES[monitor]
    figure.suptitle(f"Validation: {rule} at epoch {best['epoch']}, accuracy {best['val/acc']:.3f} there")
    return figure


def thaw_timeline(metrics: Metrics) -> Figure:
    """A row a block, output at the top; coloured where the block was trained, by its learning rate that epoch."""
    blocks = [key.removeprefix("lr/") for key in metrics[0] if key.startswith("lr/")]
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    axes = figure.subplots()
    rates = np.array(
        [
            [line[f"lr/{block}"] if block in line["trainable"] else np.nan for line in metrics]
            for block in reversed(blocks)
        ]
    )
    axes.set_facecolor(GREY)
    # Blocks learn at rates that differ by powers of the decay, and a cosine ends near zero: only a log scale
    # tells them apart. Three decades are enough; a rate of zero takes the lowest colour.
    top = float(np.nanmax(rates, initial=0.0))
    lowest = float(rates[rates > 0].min()) if top > 0 else 0.0  # NaN > 0 is False
    low = max(lowest, top / 1000) if lowest < top else top / 10
    norm = LogNorm(low, top, clip=True) if top > 0 else None
    first, last = metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5
    image = axes.imshow(
        rates,
        aspect="auto",
        cmap="viridis",
        norm=norm,
        extent=(first, last, len(blocks) - 0.5, -0.5),
        interpolation="nearest",
    )
    axes.set_yticks(range(len(blocks)), list(reversed(blocks)))
    axes.hlines(np.arange(len(blocks) - 1) + 0.5, first, last, color="white", linewidth=3)
    epoch_axis(axes, metrics)
    if norm is not None:
        bar = figure.colorbar(image, ax=axes, label="learning rate", pad=0.01)
        ticks = [float(tick) for tick in np.geomspace(low, top, 4)]
        names = [f"{tick:.2g}" for tick in ticks]
        bar.set_ticks(ticks, labels=[f"≤ {names[0]}" if lowest < low else names[0], *names[1:]])
        bar.ax.yaxis.set_minor_locator(NullLocator())
    trained = len(metrics[-1]["trainable"])
    axes.set_title(f"{trained} of {len(blocks)} blocks trained in the last epoch; grey = frozen", fontsize=11)
    return figure


def save_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    figures: dict[str, Figure] = {}
    run = FinishedRun(run_dir)
    metrics = run.metrics
    if metrics:
        figures["curves"] = learning_curves(metrics, run.monitor)
        figures["thaw"] = thaw_timeline(metrics)
    for more in (cka_figures, time_figures, tested_figures, reliability_figures, finding_figures):
        figures |= more(run_dir)
    return save_figures(run_dir, figures)
