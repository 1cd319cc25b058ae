"""Measure some of the registered figures anew and compare: `make certify`, which draws a fifth of those that fit.

A figure that says how (`certify`) is run by its own command in an empty folder with an empty cache; of many runs it
is one, of many cases one that is drawn. On the processor and versions that it was measured with, and where
that is promised, it must be equal to the bit; elsewhere it must lie in its 95 % interval. What was certified
when is kept in `figures/certified/` and said in docs/certified.md. Figures on images that are not embedded need
the folder of --data, or of the variable TLCL_FIGURES_DATA.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.anew import Check, Found, checks, files_of, kept_cases, measured_anew
from benchmarks.common import progress
from benchmarks.figure import Figure, Value
from benchmarks.register import FIGURES, ROOT, here_and_now, names, read
from tlcl.errors import TrainingError, UserError, run_cli
from tlcl.system.files import atomic_write_text

CERTIFIED, PAGE = FIGURES / "certified", ROOT / "docs" / "certified.md"
DATA = "TLCL_FIGURES_DATA"
SAME = ("processor", "threads")


def drawn(able: Sequence[Check], share: float, minutes: float, seed: int) -> list[Check]:
    """A random share of what can be measured anew, one at least, as far as the minutes go."""
    order = random.Random(seed).sample(able, len(able))
    found: list[Check] = []
    left = minutes
    for one in order[: max(1, round(share * len(order)))]:
        if one.minutes <= left:
            found.append(one)
            left -= one.minutes
    return found


def judged(check: Check, now: Mapping[str, Found] | None, here: Mapping[str, Any]) -> dict[str, Any]:
    """Whether what was measured now is what the register says, and by which rule; None: its command failed."""
    figure, measured, registered = check.figure, check.measured(), check.registered()
    assert figure.certify is not None
    versions = measured.get("versions", {})
    same = all(measured.get(key) == here[key] for key in SAME) and bool(versions) and all(
        here["versions"].get(package) == version for package, version in versions.items()
    )  # fmt: skip
    exact = bool(figure.certify["exact"] and same)
    agreed = {} if now is None else {
        name: name in now and (now[name].exactly == exactly if exact else _within(now[name].value, said))
        for name, (said, exactly) in registered.items()
    }  # fmt: skip
    shown = next((name for name, agrees in agreed.items() if not agrees), next(iter(registered)))
    return {
        "figure": figure.name, "case": check.case, "value": shown, "values": len(registered),
        "registered": registered[shown][0].value,
        "measured": now[shown].value if now is not None and shown in now else None,
        "rule": "equal to the bit" if exact else "within the interval",
        "holds": bool(agreed) and all(agreed.values()),
        "date": date.today().isoformat(), "commit": here["commit"], "processor": here["processor"],
        "of": _of(measured),
    }  # fmt: skip


def _within(now: float, said: Value) -> bool:
    return said.low is not None and said.high is not None and said.low <= now <= said.high


def _of(measured: Mapping[str, Any]) -> str:
    """When it was measured, and at which commit: a certificate is of that one alone."""
    return f"{measured.get('date')}, {measured.get('commit')}"


def stands(certificate: Mapping[str, Any], figure: Figure) -> bool:
    """Whether it is of what the register says today."""
    case = certificate.get("case", "")
    if bool(case) != ("cases" in (figure.certify or {})) or (case and case not in kept_cases(figure)):
        return False
    return bool(certificate.get("of") == _of(Check(figure, 0, case).measured()))


def page() -> str:
    """docs/certified.md, from what is kept."""
    known = [json.loads(path.read_text()) for path in sorted(CERTIFIED.glob("*.json"))]
    lines = [
        "# Certified", "",
        "Back to [measured](measured.md). Figures that `make certify` measured anew, the last time each: one run, "
        "or one case of those that a figure is made of. Where one of its numbers differs, that one is shown. "
        "`make certify` draws a fifth of what fits into an hour; another share, in so many minutes: `python -m "
        "benchmarks.certify --share 1 --minutes 30`. Figures on images need `--data FOLDER`, or the variable "
        f"`{DATA}`, with the files that they name, by hash.", "",
        "| figure | what | registered | measured anew | must be | holds | when, at which commit |",
        "|---|---|---:|---:|---|---|---|",
    ]  # fmt: skip
    figures = {name: read(name) for name in names()}
    for one in (one for one in known if one["figure"] in figures):
        when, holds = f"{one['date']}, {one['commit']}, {one['processor']}", "yes" if one["holds"] else "**no**"
        if not stands(one, figures[one["figure"]]):
            holds = f"{holds}, of an earlier measurement"
        both = f"{one['registered']:.4f} | {'none' if one['measured'] is None else format(one['measured'], '.4f')}"
        what = ", ".join(filter(None, (one.get("case"), str(one.get("value", "")))))
        rule = one["rule"] if one.get("values", 1) == 1 else f"{one['rule']}, all {one['values']}"
        lines.append(f"| {one['figure']} | {what} | {both} | {rule} | {holds} | {when} |")
    able = [name for name, figure in figures.items() if figure.certify is not None]
    never = sorted(set(able) - {one["figure"] for one in known})
    others = [name for name, figure in figures.items() if figure.certify is None and not figure.source]
    if never:
        lines += ["", f"Not certified so far: {', '.join(never)}."]
    if others:
        listed = ", ".join(others)
        lines += ["", f"Not by one run or case within an hour (their own commands measure them anew): {listed}."]
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


def chosen(options: argparse.Namespace) -> list[Check]:
    """What is drawn, with its files there.

    Raises:
        UserError: an option that cannot be, nothing that fits, or other files than those that were measured on.
    """
    if not 0 < options.share <= 1:
        raise UserError(f"--share={options.share:g} must be above 0 and at most 1")
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data={options.data} is not a folder")
    figures = [read(name) for name in names()]
    there = [one for one in figures if options.data is not None or not (one.data or one.weights)]
    found = drawn(checks(there, options.minutes, options.seed), options.share, options.minutes, options.seed)
    if not found:
        raise UserError(f"no figure is measured anew within --minutes={options.minutes:g}")
    for one in found:
        files_of(one.figure, options.data)
    return found


def certified(check: Check, data: Path | None, here: Mapping[str, Any]) -> bool:
    """Measure it anew, keep what came of it, and say it."""
    began, name = time.monotonic(), check.figure.name
    progress(f"{name}{f', {check.case}' if check.case else ''}: about {check.minutes:.0f} min")
    with tempfile.TemporaryDirectory() as folder:
        try:
            now = measured_anew(check, data, Path(folder))
        except TrainingError as error:
            progress(str(error))
            now = None
    found = judged(check, now, here)
    held = "holds" if found["holds"] else "DOES NOT HOLD"
    progress(f"{name}: {held}, {found['rule']}: {found['value']} registered {found['registered']}, now "
             f"{found['measured']} ({time.monotonic() - began:.0f} s)")  # fmt: skip
    atomic_write_text(CERTIFIED / f"{name}.json", json.dumps(found, indent=1) + "\n")
    atomic_write_text(PAGE, page())
    return bool(found["holds"])


def main() -> None:
    options, here = parser().parse_args(), here_and_now()
    held = [certified(check, options.data, here) for check in chosen(options)]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    run_cli(main)
