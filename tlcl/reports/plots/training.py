"""Pictures of a run, drawn from its records alone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from tlcl.reports.plots.cka import cka_figures
from tlcl.reports.plots.findings import finding_figures
from tlcl.reports.plots.predictions import tested_figures
from tlcl.reports.plots.reliability import reliability_figures
from tlcl.reports.plots.style import BLUE, GREEN, GREY, INK, ORANGE, percent_ticks, remove_figures, save_figures
from tlcl.reports.plots.time import time_figures
from tlcl.system.figures import counted, percent
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
        axes.axvline(epoch - 0.5, color=INK, linestyle="--", linewidth=1)
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
            color=INK,
        )


class Course(NamedTuple):
    """What is said of a training beside its epochs' figures.

    Attributes:
        monitor: what chooses the best epoch, a key of `SCORES`.
        tested: the epoch whose weights were tested; None: the best.
        planned: how many epochs there were to be; None: not known.
        patience: after how many epochs without a better one it ends; None: it does not.
        finished: whether it has ended.
    """

    monitor: str = "accuracy"
    tested: int | None = None
    planned: int | None = None
    patience: int | None = None
    finished: bool = False


UNKNOWN = Course()


def course_of(run: FinishedRun) -> Course:
    """From the run's records; what they do not hold is left open."""
    tested = (run.summary.get("selected") or {}).get("epoch")
    planned, patience = run.setting("trainer.epochs"), run.setting("trainer.patience")
    return Course(run.monitor, tested, planned, patience, bool(run.summary))


def ended_early(metrics: Metrics, course: Course) -> str:
    """Why a finished training has fewer epochs than were planned, in words; empty where it has them all."""
    if not course.finished or course.planned is None or course.patience is None or len(metrics) >= course.planned:
        return ""
    planned, without = counted(course.planned, "epoch"), counted(course.patience, "epoch")
    return f"stopped early, after {len(metrics)} of {planned}: {without} brought nothing better"


def mark_epoch(axes: Axes, epoch: int, name: str = "tested", value: float | None = None) -> None:
    """A dotted line at the epoch whose weights were tested, named in the legend, with a ring at its figure."""
    axes.axvline(epoch, color=GREEN, linestyle=":", linewidth=2, label=f"{name}: epoch {epoch}", zorder=0)
    if value is not None:
        axes.plot([epoch], [value], "o", color=GREEN, markersize=10, markerfacecolor="none", markeredgewidth=2)


def learning_curves(metrics: Metrics, course: Course = UNKNOWN) -> Figure:
    """Accuracy and loss against epoch, training and validation; dashed: thaws, dotted: the tested epoch."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(metrics) < 3 else None
    best = max(metrics, key=SCORES[course.monitor])
    tested = next((line for line in metrics if line["epoch"] == course.tested), best)
    for axes, quantity, shown in zip(figure.subplots(1, 2), ("acc", "loss"), ("accuracy", "loss"), strict=True):
        for part, colour, label in (("train", ORANGE, "training"), ("val", BLUE, "validation")):
            values = [line[f"{part}/{quantity}"] for line in metrics]
            axes.plot(epochs, values, color=colour, label=label, marker=marker, linewidth=2)
        name = "best so far" if course.tested is None else "tested"
        mark_epoch(axes, tested["epoch"], name, tested[f"val/{quantity}"])
        milestone_lines(axes, metrics)
        epoch_axis(axes, metrics)
        axes.set_ylabel(shown)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        if quantity == "acc":
            percent_ticks(axes.yaxis)
    figure.suptitle("\n".join(filter(None, [_choice(tested, best, course), ended_early(metrics, course)])))
    return figure


def _choice(tested: Mapping[str, Any], best: Mapping[str, Any], course: Course) -> str:
    rule = SHORT_RULES[course.monitor]
    figures = f"{percent(tested['val/acc'])} of the validation images right"
    if tested["epoch"] == best["epoch"]:
        return f"{rule[0].upper()}{rule[1:]} at epoch {best['epoch']}: {figures}"
    return f"Tested: epoch {tested['epoch']}, {figures}; {rule} at epoch {best['epoch']}"


def thaw_timeline(metrics: Metrics, tested: int | None = None) -> Figure:
    """A row a block, output at the top; coloured where the block was trained, by its learning rate that epoch.

    Args:
        tested: the epoch whose weights were tested, which is marked; None: none is.
    """
    blocks = [key.removeprefix("lr/") for key in metrics[0] if key.startswith("lr/")]
    figure = Figure(figsize=(10, 2.9), layout="constrained")
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
    trained, marked = len(metrics[-1]["trainable"]), ""
    if tested is not None:
        # white below, so that it shows on every colour of the scale
        axes.axvline(tested, color="white", linewidth=4)
        axes.axvline(tested, color=ORANGE, linewidth=2)
        marked = f"; orange = the tested epoch, {tested}"
    said = f"{trained} of {len(blocks)} blocks trained in the last epoch"
    axes.set_title(f"{said}; grey = frozen{marked}", fontsize=11)
    return figure


def save_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    figures: dict[str, Figure] = {}
    run = FinishedRun(run_dir)
    metrics = run.metrics
    if metrics:
        course = course_of(run)
        figures["curves"] = learning_curves(metrics, course)
        figures["thaw"] = thaw_timeline(metrics, course.tested)
    for more in (cka_figures, time_figures, tested_figures, reliability_figures, finding_figures):
        figures |= more(run_dir)
    remove_figures(run_dir, {"cka", "mistakes"} - figures.keys())
    return save_figures(run_dir, figures)
