"""`python -m benchmarks`: the benchmarks of speed and memory, one after another, into the register and its pages.

Each is a command of its own, so that none meets what another left behind. With --quick everything runs at sizes too
small to mean anything, and the text goes to the standard output. The machine has to be idle.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import Benchmark, progress
from benchmarks.pages import write_pages
from benchmarks.record import load, typed

NAMES = ("startup", "finetune", "head_phase", "cost", "memory", "compile", "depthwise", "continual", "folders")


def arguments_for(benchmark: Benchmark, options: argparse.Namespace) -> list[str]:
    """Those of the options that the benchmark has."""
    known = vars(benchmark.parser().parse_args([]))
    chosen = list(benchmark.quick) if options.quick else []
    if options.rounds is not None and "rounds" in known:
        chosen += ["--rounds", str(options.rounds)]
    if options.tar is not None and "tar" in known:
        chosen += ["--tar", str(options.tar)]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), help="these alone")
    parser.add_argument("--quick", action="store_true", help="one round of tiny sizes, to see that all of it works")
    parser.add_argument("--rounds", type=int, help="of each, in place of its own number")
    parser.add_argument("--tar", type=Path, help="a tar of ten class folders, for those that can use it")
    options = parser.parse_args()
    if options.quick:
        print("**A quick run: too small for the figures to mean anything.**", flush=True)
    for name in options.only:
        benchmark = load(name)
        arguments = arguments_for(benchmark, options)
        progress(typed(benchmark, arguments))
        start = time.perf_counter()
        module = [benchmark.module] if options.quick else ["benchmarks.record", name]
        process = subprocess.run([sys.executable, "-m", *module, *arguments])
        if process.returncode != 0:
            raise SystemExit(process.returncode)
        progress(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes")
    if not options.quick:
        write_pages()


if __name__ == "__main__":
    main()
