"""Reads what wandb stored offline: wandb's own record messages from its LevelDB-format log."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """wandb_internal_pb2.Record messages, in order. The first 7 bytes name the format and its version."""
    content, position, parts = path.read_bytes(), HEADER, b""
    assert content.startswith(b":W&B")
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:  # too little room for a header: the rest of the block is padding
            position += BLOCK - position % BLOCK
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        position += HEADER
        parts += content[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


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
