"""Figures of what the network said of the test images: confusion matrix and mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlcl.reports.plots.style import percent_formatter, short
from tlcl.system.figures import counted, percent
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.image_table import read_test_images

SHOW_COUNTS = 20  # classes up to which every count can be read
WHOLE = 60  # classes up to which a matrix of all of them can be read
PART = 30  # classes of the matrix where there are more
LETTERS = 20  # of a name


def confusion_counts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """int (K, K): rows the true class, columns the predicted one. labels (N,), probabilities (N, K)."""
    classes = probabilities.shape[1]
    flat = np.bincount(labels * classes + probabilities.argmax(1), minlength=classes**2)
    return flat.reshape(classes, classes)


def most_confused(counts: np.ndarray, number: int) -> np.ndarray:
    """The classes of the most frequent confusions, true and predicted one: int (number,), sorted.

    Args:
        counts: int (K, K) with K >= number, as `confusion_counts` gives them; among equals, and where there are too
            few confusions, the first classes are taken.
    """
    mistakes = counts - np.diag(counts.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    involved = np.stack(np.unravel_index(order, counts.shape), axis=1).ravel().tolist()
    return np.sort(list(dict.fromkeys([*involved, *range(len(counts))]))[:number])


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """Row-normalised confusion matrix, with counts where they can be read.

    Of more than `WHOLE` classes the `PART` most confused; shares are still of all images of the true class.
    """
    counts = confusion_counts(labels, probabilities)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    right, total = int(counts.trace()), int(counts.sum())
    title = f"{right:,} of {counted(total, 'test image')} right ({percent(right / max(1, total))})"
    if len(classes) > WHOLE:
        chosen = most_confused(counts, PART)
        title = f"The {PART} most confused of {len(classes)} classes\n{title}"
        counts, shares = counts[np.ix_(chosen, chosen)], shares[np.ix_(chosen, chosen)]
        classes = [classes[index] for index in chosen]
    many = len(classes) > SHOW_COUNTS
    cell, room, font = (0.2, 3.4, 8) if many else (0.42, 2.6, 10)
    size = max(5.0, cell * len(classes) + room)
    figure = Figure(figsize=(size + 1.0, size), layout="compressed")  # keeps labels of square axes on the page
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if not many:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
    names = [short(name, LETTERS) for name in classes]
    rotation = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(range(len(names)), names, rotation=rotation, fontsize=font, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02, format=percent_formatter())
    bar.set_label("share of the true class")
    axes.set_title(title, fontsize=12)
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
        images: uint8 (M, C, H, W) with M >= 1.
        labels: int (M,), the true classes.
        probabilities: float (M, K).
        files: (M,), whose names go below the images; empty where they are not known.
    """
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    height = (2.7 if files else 2.5) * rows + 0.3
    figure = Figure(figsize=(max(4.5, 2.1 * columns), height), layout="constrained")
    counted = "The surest mistake" if len(images) == 1 else f"The {len(images)} surest mistakes"
    figure.suptitle(f"{counted} (true → predicted): up to {percent(probabilities.max())} sure", fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for number, (axes, image, label, row) in enumerate(
        zip(figure.axes, images, labels, probabilities, strict=False)
    ):
        pixels = image.transpose(1, 2, 0)
        plane = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        axes.imshow(plane, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        guess = int(row.argmax())
        names = short(classes[label], LETTERS), short(classes[guess], LETTERS)
        between = " → " if len("".join(names)) <= 16 else "\n→ "
        title = f"{names[0]}{between}{names[1]}\n{percent(row[guess])} sure"
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
    drawn = {"confusion": confusion_matrix(labels, probabilities, classes)}
    if len(images):
        known = read_test_images(run_dir)
        files = [known[place] for place in wrong] if len(known) == len(labels) else []
        files = [f"image {name}" if name.isdigit() else name for name in files]
        drawn["mistakes"] = mistakes_grid(images, labels[wrong], probabilities[wrong], classes, files)
    return drawn
