"""What the word `latest` stands for where a command takes a directory: the newest one below `runs/`.

The newest is the one that began last, by the time at which its `environment.json` was written. A path named
`latest` in the working directory is itself.
"""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from tlcl.errors import UserError
from tlcl.models.weights import RUN_MODEL
from tlcl.tracking.finished_run import FinishedRun

LATEST, RUNS, BEGUN = "latest", "runs", "environment.json"
FOLDERS = 1_000  # that a sentence may take a look into


def finished_directory(given: Path) -> Path:
    """`given`, or for `latest` the newest finished run that has a model; those of sweeps and comparisons count.

    Raises:
        UserError: there is none.
    """
    return _newest(given, "no finished run", _has_model)


def whole_directory(given: Path) -> Path:
    """`given`, or for `latest` what began last: a run, finished or not, or a sweep, comparison or study as a whole.

    Raises:
        UserError: there is none.
    """
    return _newest(given, "no run", lambda _: True)


def _newest(given: Path, none: str, wanted: Callable[[Path], bool]) -> Path:
    if str(given) != LATEST or given.exists():
        return given
    found = [((path / BEGUN).stat().st_mtime_ns, path) for path in _outermost(Path(RUNS), wanted)]
    if not found:
        raise UserError(f"there is {none} below {RUNS}/ for '{LATEST}' to stand for; give its directory")
    _, path = max(found)
    print(f"{LATEST}: {path}", file=sys.stderr)
    return path


def _outermost(root: Path, wanted: Callable[[Path], bool], most: int | None = None) -> Iterator[Path]:
    """What began below `root` and is wanted; within such a directory nothing else is looked for.

    Args:
        most: how many folders are looked into; None: all.
    """
    for folder, folders, files in islice(os.walk(root), most):
        folders.sort()
        if BEGUN in files and wanted(Path(folder)):
            folders.clear()
            yield Path(folder)


def run_below(folder: Path) -> Path | None:
    """A finished run with a model in a folder of many, such as a sweep; None: not in the first `FOLDERS`."""
    return next((path for path in _outermost(folder, _has_model, FOLDERS) if path != folder), None)


def _has_model(path: Path) -> bool:
    return (path / "labels.json").is_file() and (path / RUN_MODEL).is_file() and FinishedRun(path).complete
