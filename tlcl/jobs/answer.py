"""What the terminal says at the end of a run with a fitted head: class by class, and what to do next."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.config.thaw import BLOCKS
from tlcl.reports.page import per_class
from tlcl.system.text import plain

LISTED = 10  # classes that are named


def class_lines(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> list[str]:
    """How many test images of each class are right; the hardest alone where there are many.

    Args:
        labels: int (N,).
        probabilities: (N, K).
    """
    rows = per_class(labels, probabilities, [plain(name) for name in classes])
    shown = rows
    if len(rows) > LISTED:
        tested = sorted((row for row in rows if row["images"]), key=lambda row: (row["recall"], row["name"]))
        shown = tested[:LISTED]
    width = max(len(row["name"]) for row in shown)
    more = [f"  (the {LISTED} hardest of {len(rows)} classes)"] if len(rows) > LISTED else []
    return [f"  {row['name']:<{width}}  {_right(row['recall'], row['images'])}" for row in shown] + more


def _right(share: float, images: int) -> str:
    return f"{100 * share:5.1f} %  {round(share * images)} of {images}" if images else "   –    no test image"


def next_lines(summary: dict[str, Any], run_dir: Path) -> list[str]:
    """Advice, and the commands that go on from the run."""
    path = shlex.quote(str(run_dir))
    return [
        f"what to do next: {next_step(summary)}",
        f"  classify images:    tlcl predict {path} IMAGES --csv predictions.csv",
        f"  see why:            tlcl explain {path} IMAGES",
    ]


def next_step(summary: dict[str, Any]) -> str:
    """One piece of advice that follows from the figures."""
    look, deeper = summary["look"], summary.get("deeper", {})
    low, high = summary["first_answer"]["interval"]
    if look.get("between", {}).get("groups"):
        return "equal images with different classes are named above: put their labels right first"
    if high - low > 0.1:
        return "more test images: the interval is wider than 10 points"
    if deeper.get("kept"):
        more = len(summary["trained_blocks"])  # the head is one of them
        wider = f"thaw more (thaw.depth={more}), or " if more < len(BLOCKS) else ""
        return f"{wider}add labelled images: the deeper model was worth it"
    if summary["test_acc"] >= 0.98:
        return "look at the mistakes in the report: there is little left to gain"
    return "more labelled images of the classes that are most often wrong; see the report"
