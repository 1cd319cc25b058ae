"""`python -m benchmarks`: every benchmark, one after another; the tables go to `benchmarks/RESULTS.md`.

Each is a command of its own, so that none meets what another left behind. The file is written anew after each
section and holds the figures of this run alone. With --quick everything runs at sizes too small to mean anything,
and the text goes to the standard output. The machine has to be idle.
"""

import argparse
import importlib
import shlex
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.common import Benchmark, facts, progress
from tlcl.atomic import atomic_write_text

NAMES = ("startup", "finetune", "head_phase", "cost", "memory", "compile", "continual")
RESULTS = Path(__file__).with_name("RESULTS.md")


def load(name: str) -> Benchmark:
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    return benchmark


def run(benchmark: Benchmark, arguments: list[str]) -> str:
    """The section that its command prints below the machine's facts."""
    process = subprocess.run(
        [sys.executable, "-m", benchmark.module, *arguments], stdout=subprocess.PIPE, text=True
    )
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return process.stdout.partition("\n\n")[2]


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

    text = (
        "# Benchmarks\n\nWritten by `python -m benchmarks`; "
        f"every figure was measured in one run, on {date.today()}, on this machine:\n\n{facts()}\n"
    )
    if options.quick:
        text += "\n**A quick run: the sizes are too small for the figures to mean anything.**\n"
    for name in options.only:
        benchmark = load(name)
        arguments = arguments_for(benchmark, options)
        shown, start = command(benchmark, arguments, options.tar), time.perf_counter()
        progress(shown)
        section = run(benchmark, arguments)
        minutes = (time.perf_counter() - start) / 60
        progress(f"{name}: {minutes:.1f} minutes")
        text += f"\n## {benchmark.title}\n\n`{shown}`\n\n{section.rstrip()}\n"
        if out is not None:
            atomic_write_text(out, text)
    if out is None:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
