"""`python -m benchmarks.memory`: peak resident memory of one training process, ours beside others.

Each loop of `benchmarks.finetune` trains one epoch in a process of its own, on the same images in memory. `process`
is the peak of that process; `above imports` is without what a process has that imports the same modules, makes the
images and trains nothing. `with workers` is the peak of that process and what its DataLoader workers have for
themselves; it is sampled, so short peaks may be missed. Every process has imported Lightning, also the bare loop's.

Of the head alone there is one row more: our training with the outputs of the frozen blocks computed once and kept
in memory, of each image and its mirror image, for there are no crops in it.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

import psutil

from benchmarks.common import Benchmark, markdown, progress
from benchmarks.finetune import Trained, build_data, loops
from benchmarks.memory_probe import CACHED, NOTHING

SAMPLE_SECONDS = 0.05
MIB = 2**20


def together(process: psutil.Process) -> int:
    """Resident bytes of a process, and what those it started have for themselves."""
    total: int = process.memory_info().rss
    for worker in process.children(recursive=True):
        try:
            total += worker.memory_full_info().uss
        except psutil.Error:  # it has just ended
            continue
    return total


def measure_process(loop: str, trained: Trained, options: argparse.Namespace) -> tuple[int, int]:
    """Peak bytes of the process, and of it with its workers."""
    numbers = (str(number) for number in (options.images, options.batch_size, options.workers))
    command = [sys.executable, "-m", "benchmarks.memory_probe", loop, trained, *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                peak = max(peak, together(watched))
            except psutil.Error:
                break
            time.sleep(SAMPLE_SECONDS)
        printed, problems = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the process of {loop!r} failed:\n{problems}")
    own = int(printed)
    return own, max(own, peak)


def table(trained: Trained, measured: dict[str, list[tuple[int, int]]]) -> str:
    own = {name: median(one for one, _ in rounds) for name, rounds in measured.items()}
    rows = []
    for name, rounds in measured.items():
        everyone = median(both for _, both in rounds)
        figures = (min(one for one, _ in rounds), own[name], own[name] - own[NOTHING], everyone)
        rows.append([name, *(f"{figure / MIB:.0f}" for figure in figures), f"{own['tlcl'] / own[name]:.2f}"])
    columns = ["MiB min", "MiB median", "above imports", "with workers", "tlcl / it"]
    return markdown([f"trained: {trained}", *columns], rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=2000, help="training images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="DataLoader workers of the torchvision loop")


def section(options: argparse.Namespace) -> str:
    data = build_data(None, options.images, options.batch_size)
    text = f"One epoch of {options.images} images, batch {options.batch_size}, {options.rounds} processes each.\n"
    tables: tuple[Trained, ...] = ("everything", "head")
    for trained in tables:
        measured: dict[str, list[tuple[int, int]]] = {}
        names = [NOTHING, *loops(data, trained, options.workers), *([CACHED] if trained == "head" else [])]
        for turn in range(options.rounds):
            progress(f"memory: {trained}, round {turn + 1} of {options.rounds}")
            for name in names:
                measured.setdefault(name, []).append(measure_process(name, trained, options))
        text += f"\n{table(trained, measured)}\n"
    return text


BENCHMARK = Benchmark(
    "benchmarks.memory", "Peak memory", __doc__, add_options, section, ("--images", "256", "--rounds", "1")
)

if __name__ == "__main__":
    BENCHMARK.main()
