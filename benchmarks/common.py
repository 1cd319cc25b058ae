"""What the benchmarks share: command line, the model, the images, the turns of the loops, and the table."""

import argparse
import gc
import logging
import os
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms

from tlcl.config.schema import ModelConfig
from tlcl.data.image_tensors import ImageTensors
from tlcl.data.sources.folder_images import Decoding, load_folder
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import BACKBONE, ResNet18Config
from tlcl.system.memory import keep_freed_memory

MODEL = ResNet18Config(name="resnet18", weights="none", input_size=32)
CROP_PADDING = 4
# What a loop over PIL images does with each, in training and otherwise.
TO_INPUT = [transforms.ToTensor(), transforms.Normalize(BACKBONE.mean, BACKBONE.std)]
PIL_EVAL = transforms.Compose(TO_INPUT)
PIL_TRAIN = transforms.Compose(
    [transforms.RandomCrop(32, padding=CROP_PADDING), transforms.RandomHorizontalFlip(), *TO_INPUT]
)
PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "pillow", "avalanche-lib", "finetuning-scheduler")
T = TypeVar("T")


def tar_of(options: argparse.Namespace) -> Mapping[str, Path]:
    """The images of --tar, where a benchmark has that option and it is given."""
    tar: Path | None = getattr(options, "tar", None)
    return {} if tar is None else {tar.name: tar}


def archives(folder: Path, names: Sequence[str]) -> Mapping[str, Path]:
    """Those of the files below a folder that are there."""
    return {name: folder / name for name in names if (folder / name).is_file()}


def numbered_seeds(options: argparse.Namespace) -> tuple[int, ...]:
    """From 0, as many as --seeds says."""
    return tuple(range(options.seeds))


def no_seeds(_: argparse.Namespace) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True)
class Benchmark:
    """One section of the results and one command of its own.

    Attributes:
        module: name to run it by, as in `python -m benchmarks.finetune`.
        title: heading of its section.
        text: what is compared, for --help.
        add_options: declares its options, all with defaults.
        section: measures, and gives the section as Markdown.
        quick: arguments of a run that only shows that everything works.
        files: name -> file that its figures depend on, by its options; those of `weights/` are weights.
        seeds: by its options.
    """

    module: str
    title: str
    text: str | None
    add_options: Callable[[argparse.ArgumentParser], None]
    section: Callable[[argparse.Namespace], str]
    quick: tuple[str, ...]
    files: Callable[[argparse.Namespace], Mapping[str, Path]] = tar_of
    seeds: Callable[[argparse.Namespace], tuple[int, ...]] = no_seeds

    @property
    def name(self) -> str:
        """`finetune` of `benchmarks.finetune`."""
        return self.module.rpartition(".")[2]

    def parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.module}",
            description=self.text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        return parser

    def run(self, arguments: Sequence[str]) -> str:
        """The section by these arguments."""
        options = self.parser().parse_args(arguments)
        prepare()
        return self.section(options)

    def main(self) -> None:
        """As a command: machine and section on the standard output, progress on the other."""
        try:
            print(f"{facts()}\n\n{self.run(sys.argv[1:])}")
        except UserError as error:
            self.parser().error(str(error))


def progress(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def cifar_like(images: int, size: int = 32) -> ImageTensors:
    """Random pixels on a pattern of their class, of CIFAR-10's shape: there is something to learn.

    The loops' speed does not depend on what the images show.
    """
    random = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 128, (10, 3, 8, 8), dtype=torch.uint8, generator=random)
    patterns = patterns.repeat_interleave(size // 8, 2).repeat_interleave(size // 8, 3)
    labels = torch.arange(images) % 10
    noise = torch.randint(0, 128, (images, 3, size, size), dtype=torch.uint8, generator=random)
    return ImageTensors(noise.add_(patterns[labels]), labels, tuple("0123456789"))


def load_pool(tar: Path | None, images: int, size: int = 32) -> ImageTensors:
    """The images of a tar of class folders, at `size` pixels; without one, `images` random ones."""
    if tar is None:
        return cifar_like(images, size)
    cache = Path("~/.cache/tlcl").expanduser()
    return load_folder(tar, Decoding(size, 3, "error", cache)).data


class PilImages(Dataset[tuple[Any, int]]):
    """As torchvision.datasets.CIFAR10: an array in memory, one PIL image an item, then the transform if any."""

    def __init__(self, data: ImageTensors, transform: Callable[[Image.Image], Any] | None = None) -> None:
        self.images, self.targets = data.images.permute(0, 2, 3, 1).numpy(), data.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return self.transform(image) if self.transform else image, self.targets[index]


def fresh_network(
    *, channels_last: bool, size: int = 32, model: ModelConfig = MODEL
) -> tuple[Blocks, Backbone]:
    """The network of every loop, with the same initial weights each time."""
    net, backbone = build_model(replace(model, input_size=size), 10, 0)
    return net.to(memory_format=torch.channels_last) if channels_last else net, backbone


def prepare() -> None:
    """Silence libraries, and let every loop keep freed memory as `tlcl.train` does.

    Otherwise how often it is handed back to the kernel depends on what ran before in the process, and loops of
    equal work differ by a tenth.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    keep_freed_memory()


def timed_steps(
    network: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor,
    batch_size: int, around: Callable[[], AbstractContextManager[Any]],
) -> Callable[[], float]:  # fmt: skip
    """A function that trains one batch more and returns its seconds.

    Args:
        inputs, labels: of four batches, which take turns.
        around: what the forward pass is in.
    """
    turns = count()

    def step() -> float:
        start = next(turns) % 4 * batch_size
        given, wanted = (part[start : start + batch_size] for part in (inputs, labels))
        began = time.perf_counter()
        with around():
            logits = network(given)
        loss = nn.functional.cross_entropy(logits.float(), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - began

    return step


def measure(loops: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each loop gives in each round, after one round to warm up; in a round they take turns."""
    measured: dict[str, list[T]] = {name: [] for name in loops}
    for turn in range(rounds + 1):
        progress(f"  round {turn} of {rounds}" if turn else "  warming up")
        for name, loop in loops.items():
            gc.collect()  # a Trainer is in a cycle: its network would weigh on the next loop
            taken = loop()
            if turn > 0:
                measured[name].append(taken)
    return measured


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds of the ratio within each."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def processor() -> str:
    """The processor's name where the system tells it, with what tells it from others of that name."""
    info = Path("/proc/cpuinfo")
    pairs = [line.partition(":")[::2] for line in (info.read_text().splitlines() if info.is_file() else [])]
    first = {key.strip(): value.strip() for key, value in reversed(pairs)}
    if "model name" not in first:
        return platform.machine()
    kinds = ("cpu family", "model", "stepping")
    known = [f"{key.removeprefix('cpu ')} {first[key]}" for key in kinds if key in first]
    return f"{first['model name']} ({', '.join(known)})" if known else first["model name"]


def installed() -> dict[str, str]:
    """Package -> version, of those of `PACKAGES` that are there."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def file_name(words: str) -> str:
    """Words as the name of a file."""
    return "".join(letter if letter.isalnum() else "_" for letter in words)


def with_files(typed: str, files: Mapping[str, Path]) -> list[str]:
    """The words of a command, with what stands for a file as KEY=NAME in the place of that name."""
    words = []
    for word in shlex.split(typed):
        key, equals, value = word.partition("=")
        words.append(f"{key}={files[value]}" if equals and value in files else word)
    return words


def facts() -> str:
    """Threads, processor and versions, on which every figure depends."""
    versions = [f"python {platform.python_version()}", *(f"{name} {one}" for name, one in installed().items())]
    return (
        f"{torch.get_num_threads()} threads, {os.cpu_count()} processors ({processor()}, "
        f"{torch.backends.cpu.get_cpu_capability()}); {', '.join(versions)}"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """An aligned Markdown table whose first `names` columns are text and the others numbers."""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]  # a rule takes three
    rule = ["-" * width if place < names else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if place < names else cell.rjust(width)
         for place, (cell, width) in enumerate(zip(line, widths, strict=True))]
        for line in (header, rule, *rows)
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
