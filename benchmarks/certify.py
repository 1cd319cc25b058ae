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
from tlcl.errors import UserError
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


def measured_anew(figure: Figure, data: Path | None, folder: Path) -> float:
    """The value that the figure's command gives now.

    Raises:
        UserError: a file of it has another content than the one it was measured on, or the command failed.
    """
    assert figure.certify is not None
    below = Path() if data is None else data
    files = {name: below / name for name in (*figure.data, *figure.weights)}
    for name, digest in {**figure.data, **figure.weights}.items():
        if not files[name].is_file() or file_sha256(files[name]) != digest:
            raise UserError(f"{files[name]} is not the file that {figure.name} was measured on")
    folders = {str(one): below / one for name in files for one in Path(name).parents if one.name}
    words = with_files(figure.certify["run"], files | folders)
    run = folder / "run"
    words += [f"run_dir={run}", "logger=none", "trainer.progress=false"]
    command = [sys.executable, "-m", "tlcl.train", *words]
    fresh = {**os.environ, "TLCL_CACHE": str(folder / "cache")}  # nothing is known from before
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, env=fresh, check=False)
    if ended.returncode:
        raise UserError(f"{figure.name}: {shlex.join(command)} ended with exit code {ended.returncode}")
    return float(json.loads((run / "summary.json").read_text())[figure.certify["summary"]])


def judged(figure: Figure, now: float, here: Mapping[str, Any]) -> dict[str, Any]:
    """Whether what was measured now is what the register says, and by which rule."""
    assert figure.certify is not None
    said: Value = figure.values[figure.certify["value"]]
    versions = figure.measured.get("versions", {})
    same = all(figure.measured.get(key) == here[key] for key in SAME) and bool(versions) and all(
        here["versions"].get(package) == version for package, version in versions.items()
    )  # fmt: skip
    exact = bool(figure.certify["exact"] and same)
    if exact:
        holds = now == said.value
    else:
        holds = said.low is not None and said.high is not None and said.low <= now <= said.high
    rule = "equal to the bit" if exact else "within the interval"
    return {
        "figure": figure.name, "registered": said.value, "measured": now, "rule": rule, "holds": holds,
        "date": date.today().isoformat(), "commit": here["commit"], "processor": here["processor"],
    }  # fmt: skip


def page() -> str:
    """docs/certified.md, from what is kept."""
    known = [json.loads(path.read_text()) for path in sorted(CERTIFIED.glob("*.json"))]
    lines = [
        "# Certified", "",
        "Back to [measured](measured.md). Figures that `make certify` measured anew, the last time each.", "",
        "| figure | registered | measured anew | must be | holds | when, at which commit |",
        "|---|---:|---:|---|---|---|",
    ]  # fmt: skip
    for one in known:
        when = f"{one['date']}, {one['commit']}, {one['processor']}"
        holds = "yes" if one["holds"] else "**no**"
        both = f"{one['registered']:.4f} | {one['measured']:.4f}"
        lines.append(f"| {one['figure']} | {both} | {one['rule']} | {holds} | {when} |")
    figures = [read(name) for name in names()]
    certified = {one["figure"] for one in known}
    never = [figure.name for figure in figures if figure.certify is not None and figure.name not in certified]
    others = [figure.name for figure in figures if figure.certify is None and not figure.source]
    if never:
        lines += ["", f"Not certified so far: {', '.join(never)}."]
    if others:
        lines += ["", f"Not by one run within an hour (their own commands measure them anew): {', '.join(others)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.certify", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--share", type=float, default=0.2, help="of the figures that fit (default 0.2)")
    parser.add_argument("--minutes", type=float, default=60, help="for all of them (default 60)")
    parser.add_argument("--data", type=Path, default=os.environ.get(DATA), help=f"folder of the images; or {DATA}")
    parser.add_argument("--seed", type=int, default=date.today().toordinal(), help="of the draw; default: the day")
    options = parser.parse_args()
    data = None if options.data is None else Path(options.data)
    able = fitting([read(name) for name in names()], options.minutes, data)
    here, failed = here_and_now(), False
    for figure in drawn(able, options.share, options.minutes, options.seed):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = judged(figure, measured_anew(figure, data, Path(folder)), here)
        failed |= not found["holds"]
        progress(f"{figure.name}: {'holds' if found['holds'] else 'DOES NOT HOLD'}, {found['rule']}: registered "
                 f"{found['registered']}, now {found['measured']} ({time.monotonic() - began:.0f} s)")  # fmt: skip
        atomic_write_text(CERTIFIED / f"{figure.name}.json", json.dumps(found, indent=1) + "\n")
        atomic_write_text(PAGE, page())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
