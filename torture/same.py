"""Whether two run directories hold the same run, to the bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.records import read_lines
from torture.case import Broken

# What tells of the time, the machine, or of how often the run was begun.
OF_THE_TIME = {".lock", "timings.jsonl", "environment.json", "report.html", "plots/time.png"}
OF_THIS_PROCESS = ("seconds", "found", "prefix_cache")  # a resumed run caches what is still needed


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not k.startswith(OF_THIS_PROCESS)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _json(path: Path) -> str:
    return json.dumps(_timeless(json.loads(path.read_text())))


def _lines(path: Path) -> str:
    return json.dumps(_timeless(read_lines(path)))


def _bits(value: Any) -> Any:
    """A tree of a checkpoint in which equal means equal to the bit, NaN too."""
    if isinstance(value, torch.Tensor):
        content = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return (str(value.dtype), tuple(value.shape), content)
    if isinstance(value, dict):
        return {key: _bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(item) for item in value]
    return repr(value)


def _checkpoint(path: Path) -> Any:
    return _bits(read_checkpoint(path))


def _arrays(path: Path) -> Any:
    with np.load(path) as stored:
        return {name: (stored[name].dtype.str, stored[name].shape, stored[name].tobytes()) for name in stored.files}


def _settings(path: Path) -> Any:
    """A config without the place of its run, which is absolute in sweeps."""
    return {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "run_dir"}


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json, ".jsonl": _lines, ".ckpt": _checkpoint, ".npz": _arrays, ".yaml": _settings,
}  # fmt: skip


def files_of(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}


def same_run(one: Path, two: Path) -> None:
    """That both hold the same files with the same contents: weights, optimizer, metrics, predictions, plots.

    Raises:
        Broken: names what differs.
    """
    ours, theirs = files_of(one), files_of(two)
    if ours != theirs:
        raise Broken(f"files differ: {', '.join(sorted(ours ^ theirs))}")
    for name in sorted(ours - OF_THE_TIME):
        read = READERS.get(Path(name).suffix, Path.read_bytes)
        if read(one / name) != read(two / name):
            raise Broken(f"{name} differs")
