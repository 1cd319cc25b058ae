"""`python -m benchmarks.startup`: seconds from the start of a training process to its first training step.

A new process runs what `python -m tlcl.train` runs, on the embedded digits without a logger, and notes the time
where its parts end: `import` (the interpreter and all modules), `compose` (Hydra), `build` (checked config, data,
network, run directory, Trainer; to the first batch), `step` (the first training step). Beside it processes that
only import what cannot be spared: torch, and torch with lightning. All files are in the page cache after the round
that warms up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

from benchmarks.common import Benchmark, markdown, measure, median_ratio
from benchmarks.startup_probe import PARTS

ARGUMENTS = ("logger=none", "model.weights=none", "trainer.accelerator=cpu", "trainer.progress=false")
Marks = dict[str, float]  # part -> seconds


def training(precision: str) -> Marks:
    with tempfile.TemporaryDirectory() as folder:
        command = [*ARGUMENTS, f"trainer.precision={precision}", f"run_dir={folder}/run"]
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.startup_probe", str(time.time()), *command],
            capture_output=True,
            text=True,
        )
    if process.returncode != 0:
        raise RuntimeError(f"the training process failed:\n{process.stderr}")
    marks: Marks = json.loads(process.stdout.splitlines()[-1])
    return marks


def imports(modules: str) -> Marks:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}; import os; os._exit(0)"], check=True)
    return {"import": time.perf_counter() - start}


def table(measured: dict[str, list[Marks]]) -> str:
    totals = {name: [sum(marks.values()) for marks in rounds] for name, rounds in measured.items()}
    first = next(iter(totals.values()))
    rows = []
    for name, rounds in measured.items():
        parts = [f"{median(marks[part] for marks in rounds):.2f}" if part in rounds[0] else "" for part in PARTS]
        seconds = totals[name]
        rows.append(
            [name, f"{min(seconds):.2f}", f"{median(seconds):.2f}", *parts, f"{median_ratio(first, seconds):.2f}"]
        )
    return markdown(["process", "s min", "s median", *PARTS, "tlcl / it"], rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)


def section(options: argparse.Namespace) -> str:
    loops: dict[str, Callable[[], Marks]] = {
        "tlcl": lambda: training("32-true"),
        "tlcl bf16": lambda: training("bf16-mixed"),
        "import torch, lightning": lambda: imports("torch, lightning"),
        "import torch": lambda: imports("torch"),
    }
    return (
        f"`python -m tlcl.train {' '.join(ARGUMENTS)}`, {options.rounds} rounds; medians of the parts.\n\n"
        f"{table(measure(loops, options.rounds))}\n"
    )


BENCHMARK = Benchmark(
    "benchmarks.startup", "From start to the first step", __doc__, add_options, section, ("--rounds", "1")
)

if __name__ == "__main__":
    BENCHMARK.main()
