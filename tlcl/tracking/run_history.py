"""The keys under which a run's figures are logged, and shown again."""

from collections.abc import Mapping
from typing import Any


def flattened(nested: Mapping[str, Any], join: str = "/") -> dict[str, Any]:
    """The texts, truth values and numbers, those of inner groups as GROUP/NAME; lists and None are left out."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}{join}{name}": inner for name, inner in flattened(value, join).items()}
        elif isinstance(value, str | int | float):
            flat[str(key)] = value
    return flat


def epoch_row(line: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """What is logged of a line of `metrics.jsonl`; epochs count on from task to task.

    Args:
        epochs: of each task.
    """
    figures = {key: value for key, value in line.items() if "/" in key}
    total = line["epoch"] + line.get("task", 0) * epochs
    return {**figures, "trainable_blocks": len(line["trainable"]), "epoch": total}


def task_row(line: Mapping[str, Any]) -> dict[str, Any]:
    """What is logged of a line of `tasks.jsonl`."""
    places = ("task", "seconds")
    return {
        **{f"continual/{key}": value for key, value in line.items() if key not in places},
        "task": line["task"],
    }
