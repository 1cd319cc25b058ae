"""The register of figures: what was measured, a file each in `figures/`, with how, on what and when.

docs/measured.md is rendered from it (`benchmarks.pages`), `make certify` measures some of it anew.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PACKAGES, installed, processor
from tlcl.system.figures import count, duration, percent, points, points_spread, signed_points, three_digits
from tlcl.system.files import atomic_write_text

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "figures"
HASHED = 1 << 20  # bytes that are read at once


@dataclass(frozen=True)
class Value:
    """One number.

    Attributes:
        kind: how it is written: `percent` (0.776 as 77.6 %), `points` (77.6), `signed` (+1.2, of a share),
            `seconds`, `count` or `number`.
        low, high: its 95 % interval, in the same unit.
        spread: standard deviation over the seeds.
    """

    value: float
    kind: str = "points"
    low: float | None = None
    high: float | None = None
    spread: float | None = None

    def text(self) -> str:
        """As it stands in a table or a sentence, with its interval or deviation where it has one."""
        write = WRITTEN[self.kind]
        if self.spread is not None:
            both = points_spread(self.value, self.spread)
            return f"{both} %" if self.kind == "percent" else both
        if self.low is None or self.high is None:
            return write(self.value)
        return f"{write(self.value)} ({self.interval()})"

    def interval(self) -> str:
        """`76.8 to 78.4 %`."""
        write = WRITTEN["points" if self.kind == "percent" else self.kind]
        unit = " %" if self.kind == "percent" else ""
        return f"{write(self.low)} to {write(self.high)}{unit}"


WRITTEN = {
    "percent": percent,
    "points": points,
    "signed": signed_points,
    "seconds": duration,
    "count": count,
    "number": three_digits,
}
Cell = str | Value


@dataclass(frozen=True)
class Figure:
    """One measurement: a table, or a few numbers.

    Attributes:
        command: what was typed, a line each.
        seeds: that were measured.
        data, weights: file -> sha256 of what it was measured on; `embedded` data have none.
        values: name -> number, for sentences.
        columns, rows: the table; a cell is a text or a number.
        measured: date, commit, processor, threads and versions.
        certify: how it is measured anew: see `benchmarks.certify`; None: not within an hour, or not by itself.
        source: of what was published by others: where it stands, and whether it was read there or remembered.
    """

    name: str
    command: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    certify: Mapping[str, Any] | None = None
    source: str = ""

    def table(self) -> str:
        """The table as Markdown, numbers to the right."""
        texts = [[cell.text() if isinstance(cell, Value) else cell for cell in row] for row in self.rows]
        number = [any(isinstance(row[place], Value) for row in self.rows) for place in range(len(self.columns))]
        rule = ["---:" if one else "---" for one in number]
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.columns, rule, *texts))

    def when(self) -> str:
        """`2026-11-29, commit abc1234, 2 threads of AMD EPYC, torch 2.15.0, seeds 0, 1, 2`."""
        known = self.measured
        parts = [str(known.get("date", "")), f"commit {known['commit']}" if known.get("commit") else ""]
        if known.get("processor"):
            parts.append(f"{known['threads']} threads of {known['processor']}")
        parts.append(f"torch {known['versions']['torch']}" if known.get("versions") else "")
        if self.seeds:
            parts.append(f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}")
        return ", ".join(part for part in parts if part)


def sha256(path: Path) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(HASHED):
            digest.update(part)
    return digest.hexdigest()


def hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of files below a folder."""
    return {name: sha256(folder / name) for name in names}


def here_and_now() -> dict[str, Any]:
    """What `Figure.measured` holds."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": date.today().isoformat(), "commit": commit, "processor": processor(),
        "threads": torch.get_num_threads(), "processors": os.cpu_count(), "versions": installed(),
    }  # fmt: skip


def measured_in(run_dir: Path) -> dict[str, Any]:
    """What `Figure.measured` holds of a finished run, from its own records; it ran on this machine."""
    environment = json.loads((run_dir / "environment.json").read_text())
    ended = datetime.fromtimestamp((run_dir / "summary.json").stat().st_mtime).date()
    commit = str(environment["git_commit"] or "")[:7]
    return {
        "date": ended.isoformat(), "commit": f"{commit} with changes" if environment["git_dirty"] else commit,
        "processor": processor(), "threads": environment["threads"], "processors": environment["processors"],
        "versions": {name: one for name, one in environment["versions"].items() if name in PACKAGES},
    }  # fmt: skip


def _cell(cell: Any) -> Any:
    if not isinstance(cell, Value):
        return cell
    return {key: value for key, value in asdict(cell).items() if value is not None}


def write(figure: Figure, folder: Path = FIGURES) -> Path:
    """Into `NAME.json`."""
    content = {key: getattr(figure, key) for key in ("name", "command", "seeds", "data", "weights")}
    content["values"] = {name: _cell(value) for name, value in figure.values.items()}
    content |= {"columns": figure.columns, "rows": [[_cell(cell) for cell in row] for row in figure.rows]}
    content |= {"measured": dict(figure.measured), "certify": figure.certify, "source": figure.source}
    path = folder / f"{figure.name}.json"
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read(name: str, folder: Path = FIGURES) -> Figure:
    """The figure of `NAME.json`.

    Raises:
        KeyError: there is none.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise KeyError(f"there is no figure {name} in {folder.name}/")
    content = json.loads(path.read_text())
    for key in ("command", "seeds", "columns"):
        content[key] = tuple(content[key])
    content["rows"] = tuple(tuple(_read_cell(cell) for cell in row) for row in content["rows"])
    content["values"] = {key: Value(**value) for key, value in content["values"].items()}
    return Figure(**content)


def _read_cell(cell: Any) -> Cell:
    return Value(**cell) if isinstance(cell, dict) else str(cell)


def names(folder: Path = FIGURES) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))
