"""A run as W&B shows it: what was measured along the way and at the end, under the keys that are logged there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from tlcl.errors import UserError
from tlcl.security.untrusted import read_yaml
from tlcl.tracking.kinds import kind_of
from tlcl.tracking.records import read_lines, read_object


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


@dataclass(frozen=True)
class LoggedRun:
    """One run.

    Attributes:
        path: the run directory.
        config, summary: flat; nested keys of the config are joined by a dot, those of the summary by a slash.
        history: rows in the order of logging.
    """

    path: Path
    name: str
    job: str
    group: str
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        return self.summary.get("status") == "complete"

    def curve(self, x: str, y: str) -> list[tuple[float, float]]:
        """(x, y) of each row that has both, as numbers."""
        pairs = [(row.get(x), row.get(y)) for row in self.history]
        return [(a, b) for a, b in pairs if isinstance(a, int | float) and isinstance(b, int | float)]


def read_run(path: Path) -> LoggedRun | None:
    """The run recorded in `path`; None when its config or figures cannot be read."""
    try:
        config = cast(dict[str, Any], OmegaConf.to_container(read_yaml(path / "config.yaml")))
        epochs, name = int(config["trainer"]["epochs"]), str(config["name"])
        rows = [epoch_row(line, epochs) for line in read_lines(path / "metrics.jsonl")]
        rows += [task_row(line) for line in read_lines(path / "tasks.jsonl")]
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return LoggedRun(
        path,
        name,
        kind_of(config).name,
        str((config.get("logger") or {}).get("group") or path.parent.name),
        flattened(config, "."),
        flattened(read_object(path / "summary.json")),
        rows,
    )
