"""One self-contained HTML page of a run, made from its directory alone."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from sklearn.metrics import precision_recall_fscore_support

from tlcl.atomic import atomic_write_text
from tlcl.tracking.plots import Predictions, confusion_counts, read_predictions
from tlcl.tracking.records import read_lines

CAPTIONS = {
    "curves": "Accuracy and loss in each epoch; a dashed line marks the epoch at whose start blocks thaw.",
    "thaw": "Which blocks were trained in which epoch, and how fast.",
    "cka": "How alike each block's outputs for the same images are before and after training (linear CKA): 1 the "
    "same but for rotation and scale, 0 unrelated.",
    "confusion": "Test images by true and predicted class; the colour is the share of the true class.",
    "mistakes": "The mistakes the network was surest of: true class → prediction.",
    "time": "Where the time of each epoch went; the totals are in the legend.",
}
# What a screen reader says in a picture's place; the caption it reads anyway.
ALTERNATIVES = {
    "curves": "Line charts of training and validation accuracy and loss against the epoch",
    "thaw": "Chart with a row for each block from head to stem, coloured in the epochs in which it was trained",
    "cka": "Bar chart: similarity of each block's outputs before and after training; figures are in summary.json",
    "confusion": "Heat map of true against predicted classes; its figures by class are in the table below",
    "mistakes": "Grid of misclassified test images, each with its true class, predicted class and confidence",
    "time": "Stacked bars of the seconds of each epoch; the totals are in summary.json",
}
RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "metrics.jsonl": "the epochs' figures",
    "summary.json": "the summary",
    "labels.json": "the class names",
    "test_predictions.npz": "the test predictions",
}
CONFUSED_PAIRS = 8


def wilson_interval(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927), in 0..1; (0, 1) for no observations."""
    if total == 0:
        return 0.0, 1.0
    share, scale = right / total, z**2 / total
    middle = (share + scale / 2) / (1 + scale)
    half = z / (1 + scale) * math.sqrt(share * (1 - share) / total + scale / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of test images of each class."""
    numbers = precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=range(len(classes)), zero_division=0
    )
    keys = ("precision", "recall", "f1", "images")
    return [
        {"name": name, **dict(zip(keys, row, strict=True))}
        for name, row in zip(classes, zip(*numbers, strict=True), strict=True)
    ]


def confused_pairs(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[tuple[str, str, int]]:
    """(true, predicted, count) of the most frequent confusions."""
    counts = confusion_counts(labels, probabilities)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED_PAIRS]
    places = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        (classes[row], classes[column], int(counts[row, column])) for row, column in places if counts[row, column]
    ]


def blocks_not_in_checkpoint(summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Blocks that thawed only after the tested checkpoint's epoch: in the tested weights they are untrained."""
    epoch = summary.get("selected", {}).get("epoch")
    if epoch is None or not metrics:
        return []
    learnt = {block for line in metrics if line["epoch"] <= epoch for block in line["trainable"]}
    return [block for block in metrics[-1]["trainable"] if block not in learnt]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty when there is none or it is damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, RecursionError, TypeError, ValueError):
        return {}


def missing_records(run_dir: Path, records: Mapping[str, str], unreadable: Mapping[str, bool]) -> list[str]:
    """A phrase for each record that is missing or cannot be read."""
    gaps = []
    for name, what in records.items():
        if not (run_dir / name).is_file():
            gaps.append(f"{what} ({name} is missing)")
        elif unreadable.get(name):
            gaps.append(f"{what} ({name} cannot be read)")
    return gaps


def embedded_plots(run_dir: Path, captions: Mapping[str, str], alternatives: Mapping[str, str]) -> list[dict]:
    """The plots that are there, in the captions' order, as data for the page itself."""
    return [
        {
            "name": name,
            "caption": caption,
            "alternative": alternatives[name],
            "data": base64.b64encode((run_dir / "plots" / f"{name}.png").read_bytes()).decode(),
        }
        for name, caption in captions.items()
        if (run_dir / "plots" / f"{name}.png").is_file()
    ]


def base_context(run_dir: Path, gaps: Sequence[str]) -> dict[str, Any]:
    """What every report's page needs: summary, environment, config."""
    return {
        "summary": read_object(run_dir / "summary.json"),
        "environment": read_object(run_dir / "environment.json"),
        "config": (run_dir / "config.yaml").read_text() if (run_dir / "config.yaml").is_file() else "",
        "run_dir": run_dir.name,
        "gaps": gaps,
    }


def pages() -> Environment:
    """The templates of all pages, which escape whatever they are given."""
    return Environment(
        loader=PackageLoader("tlcl.tracking", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
    )


def render_page(run_dir: Path, template: str, context: Mapping[str, Any], name: str = "report.html") -> Path:
    """Write a page into `run_dir`: no outside resource, no script, everything from the records escaped."""
    path = run_dir / name
    atomic_write_text(path, pages().get_template(template).render(context))
    return path


def tested_context(tested: Predictions | None) -> dict[str, Any]:
    """What a page says of the test images: the accuracy's 95 % interval, a row a class, the most confused pairs."""
    if tested is None:
        return {"interval": None, "rows": [], "pairs": []}
    labels, probabilities, classes = tested[:3]
    return {
        "interval": wilson_interval(right_answers(tested), len(labels)),
        "rows": per_class(labels, probabilities, classes),
        "pairs": confused_pairs(labels, probabilities, classes),
    }


def right_answers(tested: Predictions) -> int:
    """How many test images are classified as they are labelled."""
    return int((tested.probabilities.argmax(1) == tested.labels).sum())


def write_report(run_dir: Path) -> Path:
    """Write `report.html` (no outside resource, no script) from what is there; says what is not."""
    summary, environment = read_object(run_dir / "summary.json"), read_object(run_dir / "environment.json")
    metrics = read_lines(run_dir / "metrics.jsonl")
    seconds = [line["seconds"] for line in read_lines(run_dir / "timings.jsonl")]
    tested = read_predictions(run_dir)
    unreadable = {
        "environment.json": not environment,
        "metrics.jsonl": not metrics,
        "summary.json": not summary,
        "labels.json": not read_object(run_dir / "labels.json"),
        "test_predictions.npz": tested is None and (run_dir / "labels.json").is_file(),
    }
    context: dict[str, Any] = {
        **base_context(run_dir, missing_records(run_dir, RECORDS, unreadable)),
        "plots": embedded_plots(run_dir, CAPTIONS, ALTERNATIVES),
        "epochs": len(metrics),
        "late_blocks": blocks_not_in_checkpoint(summary, metrics),
        "epoch_seconds": float(np.median(seconds)) if seconds else None,
        "test_acc": summary.get("test_acc"),
        "test_size": summary.get("test_size"),
        **tested_context(tested),
    }
    if tested is not None:
        # A run killed between its predictions and its summary has a test accuracy all the same.
        size = len(tested.labels)
        context["test_acc"], context["test_size"] = right_answers(tested) / max(1, size), size
    return render_page(run_dir, "report.html.j2", context)
