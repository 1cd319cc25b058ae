"""`python -m benchmarks`: every benchmark, one after another; the tables go to `benchmarks/RESULTS.md`.

Each is a command of its own, so that none meets what another left behind, and a section with its date, machine and
versions; with --only the other sections stay as they are. With --quick everything runs at sizes too small to mean
anything, and the text goes to the standard output. The machine has to be idle.
"""

import argparse
import importlib
import shlex
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.common import Benchmark, progress
from tlcl.system.files import atomic_write_text

NAMES = ("startup", "finetune", "head_phase", "cost", "memory", "compile", "continual", "folders")
RESULTS = Path(__file__).with_name("RESULTS.md")


def load(name: str) -> Benchmark:
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    return benchmark


def run(benchmark: Benchmark, arguments: list[str]) -> str:
    """What its command prints: the machine's facts, then the section."""
    process = subprocess.run(
        [sys.executable, "-m", benchmark.module, *arguments], stdout=subprocess.PIPE, text=True
    )
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return process.stdout.rstrip()


def arguments_for(benchmark: Benchmark, options: argparse.Namespace) -> list[str]:
    """Those of the options that the benchmark has."""
    known = vars(benchmark.parser().parse_args([]))
    chosen = list(benchmark.quick) if options.quick else []
    if options.rounds is not None and "rounds" in known:
        chosen += ["--rounds", str(options.rounds)]
    if options.tar is not None and "tar" in known:
        chosen += ["--tar", str(options.tar)]
    return chosen


def command(benchmark: Benchmark, arguments: list[str], tar: Path | None) -> str:
    """What to type for this section alone; of the tar's path only the name, the rest is of this machine."""
    shown = [tar.name if tar is not None and argument == str(tar) else argument for argument in arguments]
    return " ".join(["python -m", benchmark.module, shlex.join(shown)]).strip()


def earlier(path: Path) -> dict[str, str]:
    """The sections of a page, by title."""
    parts = path.read_text().split("\n## ")[1:] if path.is_file() else []
    return {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def page(sections: dict[str, str]) -> str:
    """All sections, in the order of `NAMES`."""
    titles = [title for title in (load(name).title for name in NAMES) if title in sections]
    text = "".join(f"\n## {title}\n\n{sections[title]}\n" for title in titles)
    return f"# Benchmarks\n\nWritten by `python -m benchmarks`; the figures of one section are of one run.\n{text}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="these sections alone")
    parser.add_argument("--quick", action="store_true", help="one round of tiny sizes, to see that all of it works")
    parser.add_argument("--rounds", type=int, help="of each section, in place of its own number")
    parser.add_argument("--tar", type=Path, help="a tar of ten class folders, for the sections that can use it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="in place of benchmarks/RESULTS.md")
    options = parser.parse_args()
    out = options.out or (None if options.quick else RESULTS)

    sections = {} if out is None else earlier(out)
    for name in options.only:
        benchmark = load(name)
        arguments = arguments_for(benchmark, options)
        shown, start = command(benchmark, arguments, options.tar), time.perf_counter()
        progress(shown)
        section = run(benchmark, arguments)
        minutes = (time.perf_counter() - start) / 60
        progress(f"{name}: {minutes:.1f} minutes")
        sections[benchmark.title] = f"`{shown}`, {date.today()}, on {section}"
        if out is not None:
            atomic_write_text(out, page(sections))
    if out is None:
        sys.stdout.write(f"**A quick run: too small for the figures to mean anything.**\n\n{page(sections)}")


if __name__ == "__main__":
    main()
