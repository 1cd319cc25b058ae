"""What every page is made of: template, records, embedded pictures, figures by class."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, Undefined, select_autoescape
from sklearn.metrics import precision_recall_fscore_support

from tlcl.reports.plots.predictions import confusion_counts
from tlcl.statistics.accuracy import accuracy_interval
from tlcl.system.figures import (
    count,
    counted,
    duration,
    percent,
    points,
    points_spread,
    signed_interval,
    signed_points,
    three_digits,
    three_digits_spread,
)
from tlcl.system.files import atomic_write_text
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.predictions import Predictions

CONFUSED_PAIRS = 8


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 (0 to 1) and number of test `images` of each class.

    All three are None for a class without a test image, and so is the precision of one that is never answered.
    """
    guesses = probabilities.argmax(1)
    numbers = precision_recall_fscore_support(labels, guesses, labels=range(len(classes)), zero_division=0)
    answered = np.bincount(guesses, minlength=len(classes))
    rows = []
    for name, times, precision, recall, f1, images in zip(classes, answered, *numbers, strict=True):
        figures: dict[str, float | None] = {"precision": None, "recall": None, "f1": None}
        if images:
            figures = {"precision": float(precision) if times else None, "recall": float(recall), "f1": float(f1)}
        rows.append({"name": name, **figures, "images": int(images)})
    return rows


def worst_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `per_class` by recall, then F1, the lowest first; classes without a test image at the end."""
    return sorted(rows, key=lambda row: (not row["images"], row["recall"] or 0.0, row["f1"] or 0.0))


def confused_pairs(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[tuple[str, str, int]]:
    """(true, predicted, count) of the most frequent confusions."""
    counts = confusion_counts(labels, probabilities)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED_PAIRS]
    places = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        (classes[row], classes[column], int(counts[row, column])) for row, column in places if counts[row, column]
    ]


def missing_records(run: FinishedRun, records: Mapping[str, str]) -> list[str]:
    """A phrase for each record that is missing or cannot be read."""
    return [f"{what} ({name} {lack})" for name, what in records.items() if (lack := run.lacks(name)) is not None]


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
    run = FinishedRun(run_dir)
    return {
        "summary": run.summary,
        "environment": run.environment,
        "config": (run_dir / "config.yaml").read_text() if (run_dir / "config.yaml").is_file() else "",
        "run_dir": run_dir.name,
        "gaps": gaps,
        "verdict": "",
        "advice": "",
        "commands": [],
    }


# What templates write figures with; a value that a record does not have is a dash.
FIGURES: tuple[Callable[..., str], ...] = (
    count, counted, duration, percent, points, points_spread, signed_interval, signed_points, three_digits,
    three_digits_spread,
)  # fmt: skip


def _filter(write: Callable[..., str]) -> Callable[..., str]:
    return lambda *values: write(*(None if isinstance(value, Undefined) else value for value in values))


def pages() -> Environment:
    """The templates of all pages, which escape whatever they are given; filters are those of `system.figures`."""
    environment = Environment(
        loader=PackageLoader("tlcl.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
    )
    environment.filters |= {write.__name__: _filter(write) for write in FIGURES}
    return environment


def render_page(run_dir: Path, template: str, context: Mapping[str, Any], name: str = "report.html") -> Path:
    """Write a page into `run_dir`: no outside resource, no script, everything from the records escaped."""
    path = run_dir / name
    atomic_write_text(path, pages().get_template(template).render(context))
    return path


def tested_context(tested: Predictions | None) -> dict[str, Any]:
    """What a page says of the test images: the accuracy's 95 % interval, a row a class, the most confused pairs.

    `means` are of the classes that have test images.
    """
    if tested is None:
        return {"interval": None, "rows": [], "means": None, "pairs": []}
    labels, probabilities, classes = tested[:3]
    rows = per_class(labels, probabilities, classes)
    counted = [row for row in rows if row["images"]]
    return {
        "interval": accuracy_interval(right_answers(tested), len(labels)),
        "rows": worst_first(rows),
        "means": {key: float(np.mean([row[key] for row in counted])) for key in ("recall", "f1")} | {
            "classes": len(counted)
        },
        "pairs": confused_pairs(labels, probabilities, classes),
    }


def right_answers(tested: Predictions) -> int:
    """How many test images are classified as they are labelled."""
    return int((tested.probabilities.argmax(1) == tested.labels).sum())
