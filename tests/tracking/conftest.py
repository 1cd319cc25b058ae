"""Reads what wandb stored offline."""

import json
from pathlib import Path
from typing import Any

from tlcl.tracking.wandb_file import records


def run_of(path: Path) -> Any:
    """Name, group and type of the run."""
    return next(record.run for record in records(path) if record.HasField("run"))


def axes(path: Path) -> dict[str, str]:
    """Figure, or pattern of figures, -> the figure it is drawn over; "" for none."""
    defined = [record.metric for record in records(path) if record.HasField("metric")]
    return {metric.name or metric.glob_name: metric.step_metric for metric in defined}


def models(path: Path) -> dict[str, Any]:
    """What was recorded of artifacts of type model: `used` and `logged`."""
    found = [record.artifact for record in records(path) if record.HasField("artifact")]
    return {
        "used" if artifact.use_after_commit else "logged": artifact
        for artifact in found
        if artifact.type == "model"
    }


def summary(path: Path) -> dict[str, Any]:
    """The figures at the end."""
    return {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in records(path)
        if record.HasField("summary")
        for item in record.summary.update
    }


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that were logged."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(path)
        if record.HasField("history")
    ]
