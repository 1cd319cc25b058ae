"""Pictures of a run, drawn from its records alone, in Okabe & Ito's colour-blind-safe colours."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, LogFormatter, MaxNLocator, NullLocator

from tlcl.atomic import atomic_open
from tlcl.tracking.cka_plot import cka_figures
from tlcl.tracking.records import read_lines
from tlcl.tracking.time_plot import time_figures

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#D9D9D9"
SHOW_COUNTS = 20
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


def _short(name: str, length: int) -> str:
    """`name` in at most `length` characters, cut in its middle: long class names often differ at the end."""
    if len(name) <= length:
        return name
    return f"{name[: length - length // 2 - 1]}…{name[-(length // 2) :]}"


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


def learning_curves(metrics: Metrics) -> Figure:
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
    best = max(metrics, key=lambda line: (line["val/acc"], -line["val/loss"]))
    figure.suptitle(f"Validation accuracy {best['val/acc']:.3f} at epoch {best['epoch']}")
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


def confusion_counts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """int (K, K): rows the true class, columns the predicted one. labels (N,), probabilities (N, K)."""
    classes = probabilities.shape[1]
    flat = np.bincount(labels * classes + probabilities.argmax(1), minlength=classes**2)
    return flat.reshape(classes, classes)


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """Row-normalised confusion matrix, with counts where they can be read."""
    counts = confusion_counts(labels, probabilities)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    size = min(14.0, max(5.5, 0.5 * len(classes) + 2))
    figure = Figure(figsize=(size + 1.5, size), layout="compressed")  # keeps labels of square axes on the page
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= SHOW_COUNTS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
    font = 10 if len(classes) <= SHOW_COUNTS else 8
    names = [_short(name, 18) for name in classes]
    # 8 points and a bigger page stay readable to about 40 classes; beyond, every second, third ... is named.
    step = -(-len(names) // 50)
    shown = range(0, len(names), step)
    rotation = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(shown, names[::step], rotation=rotation, fontsize=font, parse_math=False)
    axes.set_yticks(shown, names[::step], fontsize=font, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.02)
    right = int(counts.trace())
    axes.set_title(f"{right} of {counts.sum()} test images right ({right / max(1, counts.sum()):.1%})")
    return figure


def mistakes_grid(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """The most confident mistakes, most confident first.

    Args:
        images: uint8 (M, C, H, W).
        labels: int (M,), the true classes.
        probabilities: float (M, K).
    """
    if len(images) == 0:
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, "No mistakes on the test images.", ha="center", va="center", fontsize=13)
        return figure
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(4.5, 2.1 * columns), 2.5 * rows + 0.3), layout="constrained")
    counted = "The surest mistake" if len(images) == 1 else f"The {len(images)} surest mistakes"
    figure.suptitle(f"{counted} (true → predicted): up to {probabilities.max():.0%} sure", fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, image, label, row in zip(figure.axes, images, labels, probabilities, strict=False):
        pixels = image.transpose(1, 2, 0)
        plane = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        axes.imshow(plane, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        guess = int(row.argmax())
        names = _short(classes[label], 20), _short(classes[guess], 20)
        between = " → " if len("".join(names)) <= 16 else "\n→ "
        title = f"{names[0]}{between}{names[1]}\n{row[guess]:.0%} sure"
        axes.set_title(title, fontsize=9, parse_math=False)
    return figure


class Predictions(NamedTuple):
    """Test labels int (N,), probabilities (N, K), K class names, mistakes' places (M,) and uint8 (M, C, H, W)."""

    labels: np.ndarray
    probabilities: np.ndarray
    classes: list[str]
    mistakes: np.ndarray
    mistake_images: np.ndarray


def read_predictions(run_dir: Path) -> Predictions | None:
    """What `test_predictions.npz` and `labels.json` hold; None when either is missing or damaged."""
    try:
        classes = json.loads((run_dir / "labels.json").read_text())["classes"]
        with np.load(run_dir / "test_predictions.npz") as stored:
            return Predictions(
                stored["labels"],
                stored["probabilities"],
                [str(name) for name in classes],
                stored["mistake_index"],
                stored["mistake_images"],
            )
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def tested_figures(run_dir: Path) -> dict[str, Figure]:
    """What the test predictions show: confusion matrix and surest mistakes; empty without predictions."""
    tested = read_predictions(run_dir)
    if tested is None:
        return {}
    labels, probabilities, classes, wrong, images = tested
    return {
        "confusion": confusion_matrix(labels, probabilities, classes),
        "mistakes": mistakes_grid(images, labels[wrong], probabilities[wrong], classes),
    }


def without_formulas(figure: Figure) -> Figure:
    """The figure, in whose texts a `$` is a character: classes and settings may have any name.

    But for the ticks of a logarithmic axis, which writes its powers as formulas.
    """
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    powers = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    formulas = {text for axis in powers for text in axis.findobj(Text) if text is not axis.label}
    for text in figure.findobj(Text):
        if text not in formulas:
            text.set_parse_math(False)
    return figure


def save_figures(run_dir: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write each figure to `plots/NAME.png`."""
    paths = []
    for name, figure in figures.items():
        paths.append(run_dir / "plots" / f"{name}.png")
        with atomic_open(paths[-1]) as file:
            without_formulas(figure).savefig(file, format="png", dpi=110)
    return paths


def save_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    figures: dict[str, Figure] = {}
    metrics = read_lines(run_dir / "metrics.jsonl")
    if metrics:
        figures["curves"] = learning_curves(metrics)
        figures["thaw"] = thaw_timeline(metrics)
    more = (cka_figures(run_dir), time_figures(run_dir), tested_figures(run_dir))
    return save_figures(run_dir, figures | more[0] | more[1] | more[2])
