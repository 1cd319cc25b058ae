"""`python -m benchmarks.cost`: what an epoch of our training costs, by number and size of images and frozen depth.

Three curves, each with the other two quantities fixed: number of images (at the smallest size), size of the images
in pixels (stored at the size the network takes), and how many of the five blocks of the backbone are frozen, from
the stem on. The first two are measured with everything trained and with the head alone. The frozen blocks are
computed in every epoch, with crop and flip; the third curve is there once more with their outputs cached (flip
alone), an epoch after the one that computes them. The images are random; the points take turns. One line a point,
so that the table can be plotted as it is.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.common import (
    CROP_PADDING,
    MODEL,
    Benchmark,
    cifar_like,
    fresh_network,
    markdown,
    measure,
    progress,
)
from benchmarks.finetune import OPTIM, EpochTimes, ours, plain_trainer
from tlcl.config.schema import Config, DataConfig, LoggerConfig, TrainerConfig
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import Source
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.thaw import Thaw
from tlcl.prefix_cache.callback import ServePrefix
from tlcl.tracking.timings import Stopwatch

BLOCKS = 5  # of the backbone
HELD_OUT = 10
CACHED_EPOCHS = 4  # the last is measured
HEADER = ("curve", "images", "pixels", "frozen", "cached", "s min", "s median", "img/s median", "ms/img median")


@dataclass(frozen=True)
class Point:
    """What an epoch trains on, and how many blocks of the backbone are frozen."""

    curve: str
    images: int
    pixels: int
    frozen: int
    cached: bool = False


def points(options: argparse.Namespace) -> list[Point]:
    smallest = min(options.sizes)
    chosen = [Point("frozen blocks", options.base, smallest, frozen) for frozen in options.frozen]
    chosen += [Point("frozen blocks", options.base, smallest, frozen, True) for frozen in options.frozen if frozen]
    for frozen in (0, BLOCKS):
        chosen += [Point("images", images, smallest, frozen) for images in options.images]
        chosen += [Point("pixels", options.base, size, frozen) for size in options.sizes]
    return chosen


def epoch(point: Point, batch_size: int, precision: str) -> Callable[[], float]:
    """One epoch; the images are made when it is called, so that only one point's are in memory at a time."""

    def seconds() -> float:
        pool = cifar_like(point.images + HELD_OUT, point.pixels)
        padding = 0 if point.cached else CROP_PADDING
        config = DataConfig("benchmark", point.images, HELD_OUT, batch_size, padding, True)
        data = ImageDataModule(Source(pool, pool), config, 0)
        train = cached if point.cached else ours
        return train(data, BLOCKS - point.frozen, precision, point.pixels)

    return seconds


def cached(data: ImageDataModule, depth: int, precision: str, size: int) -> float:
    """Seconds of an epoch that trains on outputs of the frozen blocks computed before."""
    net, _ = fresh_network(channels_last=True, size=size)
    with tempfile.TemporaryDirectory() as folder:
        trainer_config = TrainerConfig(CACHED_EPOCHS, "cpu", 1, precision, True, "last", 50, False)
        data_config = replace(data.config, cache_prefix="ram")
        config = Config(
            "benchmark", 0, folder, folder, data_config, replace(MODEL, input_size=size), OPTIM, trainer_config,
            LoggerConfig("none"), {"depth": depth},
        )  # fmt: skip
        times = EpochTimes()
        callbacks = [ServePrefix(config, data, Stopwatch()), Thaw(config.schedule), times]
        plain_trainer(precision, callbacks, CACHED_EPOCHS).fit(FinetuningModule(net, 10, OPTIM, 0), datamodule=data)
    return times.seconds[-1]


def rows(measured: dict[Point, list[float]]) -> list[list[str]]:
    lines = []
    for point, times in measured.items():
        middle = median(times)
        figures = (f"{min(times):.3f}", f"{middle:.3f}", f"{point.images / middle:.0f}")
        place = (*map(str, astuple(point)[:4]), "yes" if point.cached else "no")
        lines.append([*place, *figures, f"{1000 * middle / point.images:.3f}"])
    return lines


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 5000, 20000, 50000], help="numbers of them")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 96, 128], help="pixels, multiples of 8")
    parser.add_argument("--frozen", type=int, nargs="+", choices=range(BLOCKS + 1), default=list(range(BLOCKS + 1)))
    parser.add_argument("--base", type=int, default=500, help="images where their number is not what varies")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")


def section(options: argparse.Namespace) -> str:
    progress("cost of an epoch")
    precision = "bf16-mixed" if options.precision == "bf16" else "32-true"
    chosen = points(options)
    by_name = {str(point): epoch(point, options.batch_size, precision) for point in chosen}
    times = measure(by_name, options.rounds)
    lines = rows({point: times[str(point)] for point in chosen})
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *lines])
    return (
        f"One epoch, batch {options.batch_size}, {options.precision}, {options.rounds} rounds; the head is always "
        f"trained.\n\n{markdown(HEADER, lines)}\n"
    )


BENCHMARK = Benchmark(
    "benchmarks.cost", "What an epoch costs", __doc__, add_options, section,
    ("--images", "64", "128", "--sizes", "32", "64", "--base", "64", "--rounds", "1"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
