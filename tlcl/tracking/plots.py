"""Pictures of a run, drawn from its records alone, in Okabe & Ito's colour-blind-safe colours."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tlcl.tracking.records import read_lines

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


def _epoch_axis(axes: Axes, metrics: Metrics) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5)
    axes.spines[["top", "right"]].set_visible(False)


def learning_curves(metrics: Metrics) -> Figure:
    """Accuracy and loss against epoch, training and validation, with a dashed line at each thaw."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    epochs = [line["epoch"] for line in metrics]
    marker = "o" if len(metrics) < 3 else None
    for axes, quantity, name in zip(figure.subplots(1, 2), ("acc", "loss"), ("accuracy", "loss"), strict=True):
        for part, colour, label in (("train", ORANGE, "training"), ("val", BLUE, "validation")):
            values = [line[f"{part}/{quantity}"] for line in metrics]
            axes.plot(epochs, values, color=colour, label=label, marker=marker, linewidth=2)
        for epoch, blocks in milestones(metrics):
            axes.axvline(epoch - 0.5, color="#555555", linestyle="--", linewidth=1)
            axes.annotate(
                f"thaw {', '.join(blocks)}",
                (epoch - 0.5, 0.5),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="right",
                va="center",
                fontsize=8,
                color="#555555",
            )
        _epoch_axis(axes, metrics)
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
    first, last = metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5
    image = axes.imshow(
        rates, aspect="auto", cmap="viridis", extent=(first, last, len(blocks) - 0.5, -0.5), interpolation="nearest"
    )
    axes.set_yticks(range(len(blocks)), list(reversed(blocks)))
    axes.hlines(np.arange(len(blocks) - 1) + 0.5, first, last, color="white", linewidth=3)
    _epoch_axis(axes, metrics)
    figure.colorbar(image, ax=axes, label="learning rate", pad=0.01)
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
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= SHOW_COUNTS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
    font = 10 if len(classes) <= SHOW_COUNTS else max(3, 10 - len(classes) // 12)
    names = [name if len(name) <= 18 else name[:17] + "…" for name in classes]
    rotation = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(range(len(classes)), names, rotation=rotation, fontsize=font, parse_math=False)
    axes.set_yticks(range(len(classes)), names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
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
    figure = Figure(figsize=(2.1 * columns, 2.3 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, image, label, row in zip(figure.axes, images, labels, probabilities, strict=False):
        pixels = image.transpose(1, 2, 0)
        axes.imshow(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        guess = int(row.argmax())
        title = f"{classes[label][:14]} → {classes[guess][:14]}\n{row[guess]:.0%} sure"
        axes.set_title(title, fontsize=9, parse_math=False)
    return figure


def save_plots(run_dir: Path) -> list[Path]:
    """Draw what the records in `run_dir` allow into `plots/`; an interrupted run has fewer pictures."""
    figures: dict[str, Figure] = {}
    metrics = read_lines(run_dir / "metrics.jsonl")
    if metrics:
        figures["curves"] = learning_curves(metrics)
        figures["thaw"] = thaw_timeline(metrics)
    if (run_dir / "test_predictions.npz").is_file():
        with np.load(run_dir / "test_predictions.npz") as stored:
            labels, probabilities = stored["labels"], stored["probabilities"]
            wrong, images = stored["mistake_index"], stored["mistake_images"]
        classes = json.loads((run_dir / "labels.json").read_text())["classes"]
        figures["confusion"] = confusion_matrix(labels, probabilities, classes)
        figures["mistakes"] = mistakes_grid(images, labels[wrong], probabilities[wrong], classes)
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
    return paths
