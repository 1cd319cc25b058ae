"""What the terminal says at the end of a run with a fitted head: class by class, and what to do next.

What is to be done next is the same as on the page: see `tlcl.reports.next_steps`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.reports.next_steps import next_step, use_commands
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
    commands = (f"  {what + ':':<21} {command}" for what, command in use_commands(run_dir))
    return [f"what to do next: {next_step(summary)}", *commands]
