"""`python -m benchmarks.continual`: seconds a task of naive, ER and DER++ beside two others, in one run.

(a) a bare PyTorch loop of the same method, step by step the same work, without any framework;
(b) avalanche-lib's strategies Naive, Naive with ReplayPlugin, and DER (with beta: DER++), where it is installed.

All train torchvision's ResNet-18 at 32 pixels with ten outputs, from the same weights (channels_last), on the same
CIFAR-10-sized images (random pixels unless a tar of class folders is given), with the same crop and flip, plain
SGD, batches, replay batches and buffer size. Means are over the tasks from the second on: avalanche fills its
buffer at the end of a task, so it replays nothing in the first; the others replay there from the second batch on.

`batches` is a task's training: all batches of its epochs. tlcl's runs from the first epoch's start to the end of
Lightning's fit, with its records and a checkpoint an epoch. `whole` is everything that a task takes in
`TaskLoop.run` (start-up, fit, measuring on ten test images, saving) or in avalanche's `strategy.train` (with the
update of its buffer; no checkpoint, no measuring). `images` counts what passes through the network in training.

Loops take turns, task stream by task stream, and the ratio is taken within each round. The machine has to be idle.
"""

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.common import CROP_PADDING, Benchmark, load_pool, markdown, measure, median_ratio, progress
from benchmarks.continual_loops import (
    BUFFER,
    CLASSES,
    METHODS,
    OPTIM,
    REPLAY,
    Setup,
    Timing,
    avalanche,
    bare,
    ours,
)
from tlcl.config.continual import ContinualConfig, MethodConfig
from tlcl.config.schema import DataConfig
from tlcl.continual.stream import build_stream
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.errors import UserError

AVALANCHE = importlib.util.find_spec("avalanche") is not None
NOTE = """\
Seconds a task, mean over the tasks from the second on; min and median of the rounds. `batches`: all batches of the
task's epochs, tlcl's with records and checkpoints; `whole`: start-up, buffer and saving too. `tlcl / it` is the
median of the ratios of seconds within each round, below 1 where tlcl is faster. `images` pass through the network
in training (`img/s`: by the median of `batches`). avalanche's DER++ replays one batch a step for both of its terms,
in one forward pass with the task's; its authors' code and the other loops draw two, in passes of their own.
"""


def table(measured: dict[str, dict[str, list[Timing]]]) -> str:
    """One row a method and loop; times are of one task."""
    rows = []
    for method, loops in measured.items():
        for name, rounds in loops.items():
            images = median(one.images for one in rounds)
            cells = [f"{images:.0f}", f"{images / median(one.batches for one in rounds):.0f}"]
            for part in ("batches", "whole"):
                mine, its = ([getattr(one, part) for one in timings] for timings in (loops["tlcl"], rounds))
                cells += [f"{min(its):.2f}", f"{median(its):.2f}", f"{median_ratio(mine, its):.2f}"]
            rows.append([method, name, *cells])
    columns = [f"{part} {what}" for part in ("batches", "whole") for what in ("min", "median", "tlcl / it")]
    return markdown(["method", "loop", "images", "img/s", *columns], rows, names=2)


def build_setup(options: argparse.Namespace) -> Setup:
    """The stream of tasks, with one test image a class: measuring is not what is timed.

    Raises:
        UserError: images that do not make it.
    """
    total = options.images * options.tasks
    pool = load_pool(options.tar, total)
    if len(pool.classes) != CLASSES or total < CLASSES:
        raise UserError(f"the benchmark takes {CLASSES} classes and at least as many images")
    test = torch.stack([(pool.labels == label).nonzero()[0, 0] for label in range(CLASSES)])
    source = Source(pool, ImageTensors(pool.images[test], pool.labels[test], pool.classes))
    continual = ContinualConfig("class_incremental", CLASSES // options.tasks, "given", "new")
    stream = build_stream(source, continual, train_size=total, val_size=0, seed=0)
    if any(len(task.split.train) % options.batch_size == 1 for task in stream.tasks):
        raise UserError("BatchNorm cannot train on a last batch of one image; change --images")
    data = DataConfig("benchmark", total, 0, options.batch_size, CROP_PADDING, True)
    return Setup(stream, continual, data, options.epochs)


def loops(setup: Setup, method: MethodConfig, options: argparse.Namespace) -> dict[str, Callable[[], Timing]]:
    chosen = {"tlcl": lambda: ours(setup, method, "32-true"), "bare PyTorch": lambda: bare(setup, method)}
    if options.precision == "bf16":
        chosen["tlcl bf16"] = lambda: ours(setup, method, "bf16-mixed")
    if AVALANCHE:
        chosen["avalanche"] = lambda: avalanche(setup, method, 0)
    if AVALANCHE and options.workers > 0:
        chosen[f"avalanche, {options.workers} workers"] = lambda: avalanche(setup, method, options.workers)
    return chosen


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="which methods")
    parser.add_argument("--images", type=int, default=1000, help="training images a task")
    parser.add_argument("--tasks", type=int, choices=(2, 5, 10), default=2, help="the ten classes go into so many")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 adds a row: tlcl in it")
    parser.add_argument("--workers", type=int, default=2, help="a row more: avalanche with so many loaders")
    parser.add_argument("--tar", type=Path, help="a tar of ten class folders to take the images from")


def section(options: argparse.Namespace) -> str:
    setup = build_setup(options)
    pixels = "from a tar" if options.tar else "of random pixels"
    head = (
        f"Images a task {options.images} ({pixels}), tasks {options.tasks}, epochs {options.epochs}, "
        f"batch {options.batch_size}, replay {REPLAY}, buffer {BUFFER}, SGD {OPTIM.lr}, rounds {options.rounds}.\n"
    )
    if not AVALANCHE:
        head += "\navalanche-lib is not installed (pip install 'tlcl[bench]'), so its rows are left out.\n"
    measured = {}
    for name in options.methods:
        progress(f"continual: {name}")
        measured[name] = measure(loops(setup, METHODS[name], options), options.rounds)
    return f"{head}\n{table(measured)}\n\n{NOTE}"


BENCHMARK = Benchmark(
    "benchmarks.continual", "Continual learning", __doc__, add_options, section,
    ("--methods", "ER", "--images", "100", "--rounds", "1", "--workers", "0"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
