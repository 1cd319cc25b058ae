"""Streams of tasks on one frozen network: the closed forms and replay beside each other, features included.

EfficientNet-Lite0 with ImageNet weights: Split CIFAR-10 (five tasks of two classes), Split Tiny-ImageNet (ten tasks
of 20) and PACS domain by domain. Each method is one command with an empty cache, from JPEGs to its answers about
the test images, on which all are compared. A finished run is not run again.
"""

import argparse
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Benchmark, with_files
from benchmarks.figure import Cell, Figure, Table, Value
from benchmarks.own_photos import right_answers
from benchmarks.register import hashes, measured_in, write
from benchmarks.steps import accuracy, perform
from tlcl.statistics.paired import Difference, paired_difference, together
from tlcl.system.figures import signed_interval

COMMON = (
    "data.crop_padding=0 data.flip=false model=timm model.arch=tf_efficientnet_lite0 "
    "model.weights=pretrained trainer.precision=bf16-mixed logger=none"
)
CLASSES = "+experiment=continual_cifar10 data=image_folder data.size=32"
ALL = "data.val_size=0"  # every method learns from the same images, all there are
REPLAY = f"{ALL} thaw=last_block optim.lr=0.01 optim.momentum=0.9 method.buffer_size=500"
METHODS = {"layers": ALL, "ncm": ALL, "slda": ALL, "ranpac": ALL, "er": REPLAY, "der_pp": REPLAY}
FIRST = next(iter(METHODS))
SMALLEST = 1e-16  # of a p that is written as a number


@dataclass(frozen=True)
class Stream:
    """One stream of tasks.

    Attributes:
        figure: its name in the register.
        chosen: its keys, with FILE names in the place of paths.
        files: that name -> file or folder below --data.
        hashed: the files that it is measured on.
        minutes: of the first method, about.
        replay: keys of the methods that are trained besides.
    """

    figure: str
    chosen: str
    files: dict[str, str]
    hashed: tuple[str, ...]
    minutes: int
    replay: str = ""


CIFAR = ("cifar10/train.tar", "cifar10/test.tar")
TINY = ("tiny_imagenet32/train.tar.gz", "tiny_imagenet32/val.tar.gz")
STREAMS = {
    "cifar10": Stream(
        "layers_cifar10", f"{CLASSES} data.train=train.tar data.test=test.tar model.input_size=160",
        {Path(tar).name: tar for tar in CIFAR}, CIFAR, 7, "trainer.epochs=1",
    ),
    "tiny_imagenet": Stream(
        "layers_tiny_imagenet",
        f"{CLASSES} continual.classes_per_task=20 data.train=train.tar.gz data.test=val.tar.gz "
        "model.input_size=96",
        {Path(tar).name: tar for tar in TINY}, TINY, 6, "trainer.epochs=1",
    ),
    "pacs": Stream(
        "layers_pacs", "+experiment=continual_pacs data.root=pacs model.input_size=112", {"pacs": "pacs"},
        tuple(f"pacs/{domain}.tar" for domain in ("photo", "art_painting", "cartoon", "sketch")), 2,
    ),
}  # fmt: skip


def typed(stream: Stream, method: str) -> str:
    """What is typed after `tlcl train`."""
    trained = stream.replay if METHODS[method] == REPLAY else ""
    return f"{stream.chosen} {COMMON} method={method} {METHODS[method]} {trained}".strip()


def figure(stream: Stream, data: Path, out: Path, methods: Sequence[str]) -> Figure:
    """A row a method: accuracy, points less than the first, how sure it is, seconds."""
    files = {name: (data / path).resolve() for name, path in stream.files.items()}
    done: dict[str, dict[str, Any]] = {}
    for method in methods:
        with tempfile.TemporaryDirectory() as cache:
            done[method] = perform(out / method, typed(stream, method), files, {**os.environ, "TLCL_CACHE": cache})
    pairs: dict[str, Difference] = {}
    if FIRST in done:
        first = right_answers(out / FIRST)
        rest = [name for name in done if name != FIRST]
        pairs = together({name: paired_difference(first, right_answers(out / name)) for name in rest})
    rows = tuple(row(name, summary, pairs.get(name)) for name, summary in done.items())
    columns = (
        "method", "all classes", f"less {FIRST} (95 %)", "p, Holm", "with the task given", "forgetting",
        "mean confidence", "time",
    )  # fmt: skip
    values = {name: accuracy(summary) for name, summary in done.items()}
    values |= {f"{name}_seconds": Value(summary["seconds"], "seconds") for name, summary in done.items()}
    commands = tuple(f"tlcl train {typed(stream, name)}" for name in done)
    again = shlex.join(
        with_files(typed(stream, methods[0]), {name: Path(path) for name, path in stream.files.items()})
    )
    return Figure(
        stream.figure, commands, (0,), hashes(data, stream.hashed), values=values, parts=(Table(columns, rows),),
        measured=measured_in(out / methods[0]),
        certify={"run": again, "summary": "final_accuracy", "value": methods[0], "minutes": stream.minutes,
                 "exact": True},
    )  # fmt: skip


def row(name: str, summary: dict[str, Any], pair: Difference | None) -> tuple[Cell, ...]:
    told = ("", "")
    if pair is not None:
        p = f"{pair.p:.2g}" if pair.p >= SMALLEST else f"< {SMALLEST:g}"
        told = (signed_interval(pair.difference, pair.low, pair.high), p)
    given, sure = summary["task_given_accuracy"], summary["mean_confidence"]
    return (
        name, accuracy(summary), *told, "" if given is None else Value(given), Value(summary["forgetting"]),
        "" if sure is None else Value(sure), Value(summary["seconds"], "seconds"),
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10/, tiny_imagenet32/ and pacs/")
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=list(STREAMS), help="these alone")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="these alone")
    parser.add_argument("--out", type=Path, default=Path("runs/layers"), help="the runs are kept there")


def section(options: argparse.Namespace) -> str:
    texts = []
    for name in options.streams:
        found = figure(STREAMS[name], options.data, options.out / name, options.methods)
        write(found)
        texts += [f"### {name}", found.text()]
    return "\n\n".join(texts)


BENCHMARK = Benchmark(
    "benchmarks.layers", "One frozen network, streams of tasks", __doc__, add_options, section, ()
)

if __name__ == "__main__":
    BENCHMARK.main()
