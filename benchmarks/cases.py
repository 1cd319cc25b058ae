"""The cases that a benchmark of many hours has measured so far, in the repository, a line each.

The same command goes on from there on any machine, in as many parts as it takes; several may run beside each other.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import installed
from benchmarks.register import FIGURES, commit
from tlcl.system.files import atomic_write_text, one_at_a_time

CASES = FIGURES / "cases"


def answers(right: Iterable[bool] | np.ndarray) -> str:
    """Which of the test images are right, four a hexadecimal digit."""
    return np.packbits(np.array(list(right), dtype=bool)).tobytes().hex()


def rights(kept: str, images: int) -> np.ndarray:
    """bool (images,) of what `answers` wrote."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept), dtype=np.uint8))
    return bits[:images].astype(bool)


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Name of a case -> what was measured of it; empty where nothing was."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return {content.pop("case"): content for content in map(json.loads, lines)}


def keep(file: Path, case: str, found: Mapping[str, Any]) -> None:
    """One more case, in the place of one of the same name, with the commit, the day and torch's version."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(file.with_suffix(".lock"), lambda: None):
        known = read(file)
        when = {"commit": commit(), "date": date.today().isoformat(), "torch": installed()["torch"]}
        known[case] = {**found, **when}
        lines = [json.dumps({"case": name, **known[name]}) for name in sorted(known)]
        atomic_write_text(file, "".join(f"{line}\n" for line in lines))


def measured(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What `Figure.measured` says of cases: the last day, and every commit."""
    kept = list(found)
    commits = sorted({one["commit"] for one in kept})
    return {"date": max(one["date"] for one in kept), "commit": ", ".join(commits)}
