"""Split CIFAR-10 from one frozen network: the closed forms and replay beside each other, features included.

EfficientNet-Lite0 with ImageNet weights at 160 pixels, five tasks of two classes, all 50,000 images; each method is
one command with an empty cache, from JPEGs to its answers about the 10,000 test images, on which all are compared.
A finished run is not run again.
"""

import argparse
import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import Benchmark, with_files
from benchmarks.figure import Cell, Figure, Table, Value
from benchmarks.own_photos import right_answers
from benchmarks.register import hashes, measured_in, write
from benchmarks.steps import accuracy, perform
from tlcl.statistics.paired import Difference, paired_difference, together
from tlcl.system.figures import signed_interval

TARS = ("cifar10/train.tar", "cifar10/test.tar")
COMMON = (
    "+experiment=continual_cifar10 data=image_folder data.train=train.tar data.test=test.tar data.size=32 "
    "data.val_size=0 data.crop_padding=0 data.flip=false model=timm model.arch=tf_efficientnet_lite0 "
    "model.weights=pretrained model.input_size=160 trainer.precision=bf16-mixed logger=none"
)
REPLAY = "thaw=last_block trainer.epochs=1 optim.lr=0.01 optim.momentum=0.9 method.buffer_size=500"
METHODS = {"layers": "", "ncm": "", "slda": "", "ranpac": "", "er": REPLAY, "der_pp": REPLAY}
FIRST = next(iter(METHODS))


def typed(method: str) -> str:
    """What is typed after `tlcl train`."""
    return f"{COMMON} method={method} {METHODS[method]}".strip()


def figure(data: Path, out: Path, methods: list[str]) -> Figure:
    """A row a method: accuracy, points less than the first, how sure it is, seconds."""
    files = {Path(tar).name: data / tar for tar in TARS}
    done: dict[str, dict[str, Any]] = {}
    for method in methods:
        with tempfile.TemporaryDirectory() as cache:
            done[method] = perform(out / method, typed(method), files, {**os.environ, "TLCL_CACHE": cache})
    pairs: dict[str, Difference] = {}
    if FIRST in done:
        first = right_answers(out / FIRST)
        rest = [name for name in done if name != FIRST]
        pairs = together({name: paired_difference(first, right_answers(out / name)) for name in rest})
    rows: list[tuple[Cell, ...]] = []
    for name, summary in done.items():
        pair = pairs.get(name)
        told = "" if pair is None else signed_interval(pair.difference, pair.low, pair.high)
        sure = summary["calibration"]["test_confidence_after"]
        given = Value(summary["task_given_accuracy"])
        rows.append((name, accuracy(summary), told, given, Value(sure), Value(summary["seconds"], "seconds")))
    columns = ("method", "all classes", f"less {FIRST} (95 %)", "with the task given", "mean confidence", "time")
    values = {name: accuracy(summary) for name, summary in done.items()}
    values |= {f"{name}_seconds": Value(summary["seconds"], "seconds") for name, summary in done.items()}
    commands = tuple(f"tlcl train {typed(name)}" for name in done)
    again = shlex.join(with_files(typed(methods[0]), {Path(tar).name: Path(tar) for tar in TARS}))
    return Figure(
        "layers_cifar10", commands, (0,), hashes(data, TARS), values=values, parts=(Table(columns, tuple(rows)),),
        measured=measured_in(out / methods[0]),
        certify={"run": again, "summary": "final_accuracy", "value": methods[0], "minutes": 7, "exact": True},
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10/train.tar and test.tar")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="these alone")
    parser.add_argument("--out", type=Path, default=Path("runs/layers"), help="the runs are kept there")


def section(options: argparse.Namespace) -> str:
    found = figure(options.data, options.out, options.methods)
    write(found)
    return found.text()


BENCHMARK = Benchmark("benchmarks.layers", "One frozen network, five tasks", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
