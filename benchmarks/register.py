"""The register of figures: what was measured, a file each in `figures/`, with how, on what and when.

The README, docs/measured.md and benchmarks/RESULTS.md are rendered from it (`benchmarks.pages`), `make certify`
measures some of it anew.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PACKAGES, installed, processor
from benchmarks.figure import Cell, Figure, Table, Value
from tlcl.models.weights import file_sha256
from tlcl.system.files import atomic_write_text

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "figures"


def hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of files below a folder."""
    return {name: file_sha256(folder / name) for name in names}


def commit() -> str:
    """Of the code that runs, and whether it has been changed since; empty outside of a checkout."""
    at = _git("rev-parse", "--short", "HEAD")
    return f"{at} with changes" if _git("status", "--porcelain", "--", "benchmarks", "conf", "tlcl") else at


def _git(*asked: str) -> str:
    ended = subprocess.run(["git", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def here_and_now() -> dict[str, Any]:
    """What `Figure.measured` holds."""
    return {
        "date": date.today().isoformat(), "commit": commit(), "processor": processor(),
        "threads": torch.get_num_threads(), "processors": os.cpu_count(), "versions": installed(),
    }  # fmt: skip


def measured_in(run_dir: Path) -> dict[str, Any]:
    """What `Figure.measured` holds of a finished run, from its own records; it ran on this machine."""
    environment = json.loads((run_dir / "environment.json").read_text())
    ended = datetime.fromtimestamp((run_dir / "summary.json").stat().st_mtime).date()
    at = str(environment["git_commit"] or "")[:7]
    return {
        "date": ended.isoformat(), "commit": f"{at} with changes" if environment["git_dirty"] else at,
        "processor": processor(), "threads": environment["threads"], "processors": environment["processors"],
        "versions": {name: one for name, one in environment["versions"].items() if name in PACKAGES},
    }  # fmt: skip


def _kept(one: Value | str) -> Any:
    if isinstance(one, str):
        return one
    return {key: value for key, value in asdict(one).items() if value is not None}


def _kept_part(part: Table | str) -> Any:
    if isinstance(part, str):
        return part
    return {"columns": part.columns, "rows": [[_kept(cell) for cell in row] for row in part.rows]}


def write(figure: Figure, folder: Path = FIGURES) -> Path:
    """Into `NAME.json`."""
    content = {key: getattr(figure, key) for key in ("name", "command", "seeds", "data", "weights")}
    content["values"] = {name: _kept(value) for name, value in figure.values.items()}
    content["parts"] = [_kept_part(part) for part in figure.parts]
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
    for key in ("command", "seeds"):
        content[key] = tuple(content[key])
    content["values"] = {key: Value(**value) for key, value in content["values"].items()}
    content["parts"] = tuple(part if isinstance(part, str) else _read_table(part) for part in content["parts"])
    return Figure(**content)


def _read_table(kept: Mapping[str, Any]) -> Table:
    return Table(tuple(kept["columns"]), tuple(tuple(map(_read_cell, row)) for row in kept["rows"]))


def _read_cell(cell: Any) -> Cell:
    return Value(**cell) if isinstance(cell, dict) else str(cell)


def names(folder: Path = FIGURES) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))


def drawn_from(figures: Iterable[str], folder: Path = FIGURES) -> dict[str, str]:
    """What a PNG says of the figures it was drawn from, so that one older than they are is found."""
    return {"Figures": " ".join(f"{name}:{file_sha256(folder / f'{name}.json')[:12]}" for name in sorted(figures))}
