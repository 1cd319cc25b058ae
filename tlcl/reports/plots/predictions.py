"""Figures of what the network said of the test images: confusion matrix and mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlcl.reports.plots.style import short
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.image_table import read_test_images

SHOW_COUNTS = 20


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
    names = [short(name, 18) for name in classes]
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
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    files: Sequence[str] = (),
) -> Figure:
    """The most confident mistakes, most confident first.

    Args:
        images: uint8 (M, C, H, W).
        labels: int (M,), the true classes.
        probabilities: float (M, K).
        files: (M,), whose names go below the images; empty where they are not known.
    """
    if len(images) == 0:
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, "No mistakes on the test images.", ha="center", va="center", fontsize=13)
        return figure
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    height = (2.7 if files else 2.5) * rows + 0.3
    figure = Figure(figsize=(max(4.5, 2.1 * columns), height), layout="constrained")
    counted = "The surest mistake" if len(images) == 1 else f"The {len(images)} surest mistakes"
    figure.suptitle(f"{counted} (true → predicted): up to {probabilities.max():.0%} sure", fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for number, (axes, image, label, row) in enumerate(
        zip(figure.axes, images, labels, probabilities, strict=False)
    ):
        pixels = image.transpose(1, 2, 0)
        plane = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        axes.imshow(plane, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        guess = int(row.argmax())
        names = short(classes[label], 20), short(classes[guess], 20)
        between = " → " if len("".join(names)) <= 16 else "\n→ "
        title = f"{names[0]}{between}{names[1]}\n{row[guess]:.0%} sure"
        axes.set_title(title, fontsize=9, parse_math=False)
        if files:
            name = short(files[number], 30)
            axes.text(
                0.5, -0.03, name, transform=axes.transAxes, ha="center", va="top", fontsize=7, color="#555555"
            )
    return figure


def tested_figures(run_dir: Path) -> dict[str, Figure]:
    """What the test predictions show: confusion matrix and surest mistakes; empty without predictions."""
    tested = FinishedRun(run_dir).predictions
    if tested is None:
        return {}
    labels, probabilities, classes, wrong, images = tested
    known = read_test_images(run_dir)
    files = [known[place] for place in wrong] if len(known) == len(labels) else []
    files = [f"image {name}" if name.isdigit() else name for name in files]
    return {
        "confusion": confusion_matrix(labels, probabilities, classes),
        "mistakes": mistakes_grid(images, labels[wrong], probabilities[wrong], classes, files),
    }
