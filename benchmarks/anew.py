"""How a registered figure is measured anew, for `benchmarks.certify`: by one run, or by one of its cases.

A figure of one run says what is typed and which number of the summary it is. A figure of many cases has them kept
in figures/cases, with every answer about every test image; one of them is drawn.
"""

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, RACE
from benchmarks.cases import read as read_cases
from benchmarks.common import with_files
from benchmarks.figure import Figure, Value
from tlcl.errors import TrainingError, UserError
from tlcl.models.weights import file_sha256
from tlcl.statistics.accuracy import accuracy_interval

PREPARING = 2.0  # minutes of a case that its own seconds do not hold


@dataclass(frozen=True)
class Found:
    """One number as it was found: its value, and what is equal only where everything is."""

    value: float
    exactly: str


@dataclass(frozen=True)
class Check:
    """What is measured anew of a figure: its one run, or the case of this name."""

    figure: Figure
    minutes: float
    case: str = ""

    def kept(self) -> Mapping[str, Any]:
        """The case as it is kept."""
        return kept_cases(self.figure)[self.case]

    def measured(self) -> Mapping[str, Any]:
        """When, at which commit and on what."""
        return self.kept()["measured"] if self.case else self.figure.measured

    def registered(self) -> dict[str, tuple[Value, str]]:
        """By name, the numbers as they are registered, with their intervals, and what must be equal to the bit.

        What a race recommends is among them; on another machine another setting may win.
        """
        if not self.case:
            assert self.figure.certify is not None
            name = self.figure.certify["value"]
            return {name: (self.figure.values[name], repr(self.figure.values[name].value))}
        found = found_of(kept_cases(self.figure), self.case)
        images = int(self.kept()["tested"])
        return {name: (_accuracy(one.value, images), one.exactly) for name, one in found.items()}


def kept_cases(figure: Figure) -> dict[str, dict[str, Any]]:
    assert figure.certify is not None
    return read_cases(CASES / figure.certify["cases"])


def found_of(known: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Found]:
    """All that a case answered about its test images, and what its race came to, where there was one."""
    case, race = known[name], known.get(f"{RACE}{name}")
    every = {"answers": case} if "right" in case else case["settings"]
    found = {setting: Found(one["acc"], one["right"]) for setting, one in every.items()}
    if race is not None:
        gains = [row["gain"] for row in race["record"]["settings"]]
        found["recommended"] = Found(1.0, f"{race['record']['chosen']}, gains {gains}")
    return found


def _accuracy(share: float, images: int) -> Value:
    low, high = accuracy_interval(round(share * images), images)
    return Value(share, low=low, high=high)


def case_minutes(known: Mapping[str, Mapping[str, Any]], name: str) -> float:
    """About how long a case takes, its race too, by what is kept of it."""
    parts = [known[name], *known[name].get("settings", {}).values(), known.get(f"{RACE}{name}", {})]
    return PREPARING + sum(float(one.get("seconds", 0)) for one in parts) / 60


def checks(figures: Sequence[Figure], minutes: float, seed: int) -> list[Check]:
    """One for each figure that can be measured anew within so many minutes; of cases, one that is drawn."""
    found = []
    for figure in figures:
        if figure.certify is None:
            continue
        if "cases" not in figure.certify:
            found.append(Check(figure, figure.certify["minutes"]))
            continue
        known = kept_cases(figure)
        races = any(name.startswith(RACE) for name in known)  # a case without one is no part of the figure
        mine = {
            name: case_minutes(known, name) for name, case in sorted(known.items())
            if name.startswith(figure.certify["of"]) and "tested" in case
            and (not races or f"{RACE}{name}" in known)
        }  # fmt: skip
        short = [name for name, needed in mine.items() if needed <= minutes]
        if short:
            name = random.Random(f"{seed}, {figure.name}").choice(short)
            found.append(Check(figure, mine[name], name))
    return [one for one in found if one.minutes <= minutes]


def files_of(figure: Figure, data: Path | None) -> dict[str, Path]:
    """By name, the files that the figure was measured on.

    Raises:
        UserError: one is not there, or has another content.
    """
    below = Path() if data is None else data
    files = {name: below / name for name in (*figure.data, *figure.weights)}
    for name, digest in {**figure.data, **figure.weights}.items():
        if not files[name].is_file() or file_sha256(files[name]) != digest:
            raise UserError(f"{files[name]} is not the file that {figure.name} was measured on")
    return files


def measured_anew(check: Check, data: Path | None, folder: Path) -> dict[str, Found]:
    """By name, what the figure's command gives now, in an empty folder with an empty cache.

    Raises:
        TrainingError: the command failed.
    """
    return _case_anew(check, data, folder) if check.case else _run_anew(check.figure, data, folder)


def _run_anew(figure: Figure, data: Path | None, folder: Path) -> dict[str, Found]:
    assert figure.certify is not None
    files, below = files_of(figure, data), Path() if data is None else data
    folders = {str(one): below / one for name in files for one in Path(name).parents if one.name}
    words = with_files(figure.certify["run"], files | folders)
    run = folder / "run"
    words += [f"run_dir={run}", "logger=none", "trainer.progress=false"]
    _do(figure, ["-m", "tlcl.train", *words], folder)
    now = float(json.loads((run / "summary.json").read_text())[figure.certify["summary"]])
    return {figure.certify["value"]: Found(now, repr(now))}


def _case_anew(check: Check, data: Path | None, folder: Path) -> dict[str, Found]:
    certify, kept = check.figure.certify, folder / "cases.jsonl"
    assert certify is not None
    assert data is not None
    files = files_of(check.figure, data)
    weights = next((path for name, path in files.items() if name.startswith("weights/")), None)
    given = [] if weights is None else ["--weights", str(weights)]
    asked = ["--data", str(data), *given, "--kept", str(kept), "--only", check.case]
    _do(check.figure, ["-m", certify["module"], *asked], folder)
    return found_of(read_cases(kept), check.case)


def _do(figure: Figure, words: Sequence[str], folder: Path) -> None:
    command = [sys.executable, *words]
    fresh = {**os.environ, "TLCL_CACHE": str(folder / "cache")}  # nothing is known from before
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, env=fresh, check=False)
    if ended.returncode:
        raise TrainingError(f"{figure.name}: {shlex.join(command)} ended with exit code {ended.returncode}")
