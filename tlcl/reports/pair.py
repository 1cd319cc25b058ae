"""Two runs on the same test images: a sentence, and a page that says by class where they differ."""

from pathlib import Path
from typing import Any

import numpy as np

from tlcl.errors import UserError
from tlcl.reports.page import pages
from tlcl.reports.paired import answered, pair_sentence
from tlcl.statistics.paired import Difference, paired_difference, together
from tlcl.system.files import atomic_write_text
from tlcl.tracking.predictions import Predictions, read_predictions


def tested_runs(first: Path, second: Path) -> tuple[Predictions, Predictions]:
    """What both runs answered about the same test images.

    Raises:
        UserError: a run without answers or labels, or runs that were tested on other images.
    """
    both = []
    for path in (first, second):
        tested = read_predictions(path)
        if tested is None or answered(path) is None:
            raise UserError(f"{path} has no answers about labelled test images (test_predictions.npz)")
        both.append(tested)
    ours, theirs = answered(first), answered(second)
    if ours is None or theirs is None or not ours.asked_as(theirs):
        raise UserError(
            f"{first} and {second} were tested on other images, which tells nothing of two models; test both with "
            "the same data.test"
        )
    return both[0], both[1]


def by_class(first: Predictions, second: Predictions) -> dict[str, Difference]:
    """By class, the second's recall less the first's, p adjusted for their number; the surest difference first."""
    right, other = (one.probabilities.argmax(1) == one.labels for one in (first, second))
    places = {name: np.flatnonzero(first.labels == label) for label, name in enumerate(first.classes)}
    known = {name: place for name, place in places.items() if len(place)}
    pairs = {name: paired_difference(right[place], other[place]) for name, place in known.items()}
    rows = sorted(together(pairs).items(), key=lambda row: (row[1].p, -abs(row[1].difference)))
    return dict(rows)


def write_pair(first: Path, second: Path, out: Path) -> str:
    """Write the page to `out`; returns what it says.

    Raises:
        UserError: as for `tested_runs`.
    """
    ours, theirs = tested_runs(first, second)
    right, other = (one.probabilities.argmax(1) == one.labels for one in (ours, theirs))
    if ours.labels.shape != right.shape or right.shape != other.shape:
        raise ValueError("answers are not one for each test image")
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    pair = paired_difference(right, other)
    said = pair_sentence(*names, pair)
    context: dict[str, Any] = {
        "names": names, "verdict": said, "pair": pair, "rows": by_class(ours, theirs),
        "only": (int((right & ~other).sum()), int((other & ~right).sum())),
        "both": (int((right & other).sum()), int((~right & ~other).sum())),
    }  # fmt: skip
    atomic_write_text(out, pages().get_template("pair.html.j2").render(context))
    return said
