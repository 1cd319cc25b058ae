"""Reads the file that W&B keeps of a run: its own record messages in a log of LevelDB's format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """wandb_internal_pb2.Record messages, in order, as far as they are written to the end.

    The first 7 bytes name the format and its version.
    """
    content, position, parts = path.read_bytes(), HEADER, b""
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:  # too little room for a header: the rest of the block is padding
            position += BLOCK - position % BLOCK
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        position += HEADER
        if position + length > len(content):
            return
        parts += content[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(parts)
            parts = b""
            yield record


def is_whole(path: Path) -> bool:
    """Whether the end of the run is in the file, which is the last that W&B writes there."""
    return any(record.HasField("exit") for record in records(path))
