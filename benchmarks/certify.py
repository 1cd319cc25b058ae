"""Measure some of the registered figures anew and compare: `make certify`, which draws a fifth of those that fit.

A figure that says how (`certify`) is run by its own command in an empty folder with an empty cache; of a table
it is one run of those that it was made from. On the processor and versions that it was measured with, and where
that is promised, it must be equal to the bit; elsewhere it must lie in its 95 % interval. What was certified
when is kept in `figures/certified/` and said in docs/certified.md. Figures on images that are not embedded need
the folder of --data, or of the variable TLCL_FIGURES_DATA.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.common import progress, with_files
from benchmarks.figure import Figure, Value
from benchmarks.register import FIGURES, ROOT, here_and_now, names, read
from tlcl.errors import TrainingError, UserError, run_cli
from tlcl.models.weights import file_sha256
from tlcl.system.files import atomic_write_text

CERTIFIED, PAGE = FIGURES / "certified", ROOT / "docs" / "certified.md"
DATA = "TLCL_FIGURES_DATA"
SAME = ("processor", "threads")


def fitting(figures: list[Figure], minutes: float, data: Path | None) -> list[Figure]:
    """Those that say how they are measured anew, within so many minutes each, on what is there."""
    able = [one for one in figures if one.certify is not None and one.certify["minutes"] <= minutes]
    return [one for one in able if data is not None or not (one.data or one.weights)]


def drawn(figures: list[Figure], share: float, minutes: float, seed: int) -> list[Figure]:
    """A random share of them, one at least, as far as the minutes go."""
    order = random.Random(seed).sample(figures, len(figures))
    chosen: list[Figure] = []
    left = minutes
    for one in order[: max(1, round(share * len(order)))]:
        if one.certify is not None and one.certify["minutes"] <= left:
            chosen.append(one)
            left -= one.certify["minutes"]
    return chosen


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


def measured_anew(figure: Figure, data: Path | None, folder: Path) -> float:
    """The value that the figure's command gives now.

    Raises:
        UserError: as for `files_of`.
        TrainingError: the command failed.
    """
    assert figure.certify is not None
    files, below = files_of(figure, data), Path() if data is None else data
    folders = {str(one): below / one for name in files for one in Path(name).parents if one.name}
    words = with_files(figure.certify["run"], files | folders)
    run = folder / "run"
    words += [f"run_dir={run}", "logger=none", "trainer.progress=false"]
    command = [sys.executable, "-m", "tlcl.train", *words]
    fresh = {**os.environ, "TLCL_CACHE": str(folder / "cache")}  # nothing is known from before
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, env=fresh, check=False)
    if ended.returncode:
        raise TrainingError(f"{figure.name}: {shlex.join(command)} ended with exit code {ended.returncode}")
    return float(json.loads((run / "summary.json").read_text())[figure.certify["summary"]])


def judged(figure: Figure, now: float | None, here: Mapping[str, Any]) -> dict[str, Any]:
    """Whether what was measured now is what the register says, and by which rule; None: its command failed."""
    assert figure.certify is not None
    said: Value = figure.values[figure.certify["value"]]
    versions = figure.measured.get("versions", {})
    same = all(figure.measured.get(key) == here[key] for key in SAME) and bool(versions) and all(
        here["versions"].get(package) == version for package, version in versions.items()
    )  # fmt: skip
    exact = bool(figure.certify["exact"] and same)
    if now is None:
        holds = False
    elif exact:
        holds = now == said.value
    else:
        holds = said.low is not None and said.high is not None and said.low <= now <= said.high
    rule = "equal to the bit" if exact else "within the interval"
    return {
        "figure": figure.name, "registered": said.value, "measured": now, "rule": rule, "holds": holds,
        "date": date.today().isoformat(), "commit": here["commit"], "processor": here["processor"],
        "of": _of(figure),
    }  # fmt: skip


def _of(figure: Figure) -> str:
    """When the figure was measured, and at which commit: a certificate is of that one alone."""
    return f"{figure.measured.get('date')}, {figure.measured.get('commit')}"


def page() -> str:
    """docs/certified.md, from what is kept."""
    known = [json.loads(path.read_text()) for path in sorted(CERTIFIED.glob("*.json"))]
    lines = [
        "# Certified", "",
        "Back to [measured](measured.md). Figures that `make certify` measured anew, the last time each.", "",
        "| figure | registered | measured anew | must be | holds | when, at which commit |",
        "|---|---:|---:|---|---|---|",
    ]  # fmt: skip
    figures = [read(name) for name in names()]
    today = {figure.name: _of(figure) for figure in figures}
    for one in known:
        when = f"{one['date']}, {one['commit']}, {one['processor']}"
        holds = "yes" if one["holds"] else "**no**"
        if one.get("of") != today.get(one["figure"]):
            holds = f"{holds}, of an earlier measurement"
        both = f"{one['registered']:.4f} | {'none' if one['measured'] is None else format(one['measured'], '.4f')}"
        lines.append(f"| {one['figure']} | {both} | {one['rule']} | {holds} | {when} |")
    certified = {one["figure"] for one in known if one.get("of") == today.get(one["figure"])}
    never = [figure.name for figure in figures if figure.certify is not None and figure.name not in certified]
    others = [figure.name for figure in figures if figure.certify is None and not figure.source]
    if never:
        lines += ["", f"Not certified so far: {', '.join(never)}."]
    if others:
        lines += ["", f"Not by one run within an hour (their own commands measure them anew): {', '.join(others)}."]
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.certify", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("--share", type=float, default=0.2, help="of the figures that fit, above 0 (default 0.2)")
    found.add_argument("--minutes", type=float, default=60, help="for all of them (default 60)")
    data = os.environ.get(DATA) or None
    found.add_argument("--data", type=Path, default=data, help=f"folder of the images; or {DATA}")
    found.add_argument("--seed", type=int, default=date.today().toordinal(), help="of the draw; default: the day")
    return found


def chosen(options: argparse.Namespace) -> list[Figure]:
    """What is drawn, with its files there.

    Raises:
        UserError: an option that cannot be, nothing that fits, or other files than those that were measured on.
    """
    if not 0 < options.share <= 1:
        raise UserError(f"--share={options.share:g} must be above 0 and at most 1")
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data={options.data} is not a folder")
    figures = drawn(
        fitting([read(name) for name in names()], options.minutes, options.data), options.share, options.minutes,
        options.seed,
    )  # fmt: skip
    if not figures:
        raise UserError(f"no figure is measured anew within --minutes={options.minutes:g}")
    for figure in figures:
        files_of(figure, options.data)
    return figures


def certified(figure: Figure, data: Path | None, here: Mapping[str, Any]) -> bool:
    """Measure it anew, keep what came of it, and say it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            now = measured_anew(figure, data, Path(folder))
        except TrainingError as error:
            progress(str(error))
            now = None
    found = judged(figure, now, here)
    progress(f"{figure.name}: {'holds' if found['holds'] else 'DOES NOT HOLD'}, {found['rule']}: registered "
             f"{found['registered']}, now {found['measured']} ({time.monotonic() - began:.0f} s)")  # fmt: skip
    atomic_write_text(CERTIFIED / f"{figure.name}.json", json.dumps(found, indent=1) + "\n")
    atomic_write_text(PAGE, page())
    return bool(found["holds"])


def main() -> None:
    options, here = parser().parse_args(), here_and_now()
    held = [certified(figure, options.data, here) for figure in chosen(options)]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    run_cli(main)
