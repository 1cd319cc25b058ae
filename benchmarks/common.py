"""What the benchmarks share: the model, the images, the turns of the loops, and the table."""

import gc
import logging
import os
import platform
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from tlcl.config import ResNet18Config
from tlcl.data.image_folder import load_folder
from tlcl.data.image_tensors import ImageTensors
from tlcl.memory import keep_freed_memory
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import BACKBONE

MODEL = ResNet18Config(name="resnet18", weights="none", input_size=32)
CROP_PADDING = 4
# What a loop over PIL images does with each, in training and otherwise.
TO_INPUT = [transforms.ToTensor(), transforms.Normalize(BACKBONE.mean, BACKBONE.std)]
PIL_EVAL = transforms.Compose(TO_INPUT)
PIL_TRAIN = transforms.Compose(
    [transforms.RandomCrop(32, padding=CROP_PADDING), transforms.RandomHorizontalFlip(), *TO_INPUT]
)
PACKAGES = ("torch", "torchvision", "lightning", "numpy", "pillow", "avalanche-lib")
T = TypeVar("T")


def cifar_like(images: int) -> ImageTensors:
    """Random pixels in CIFAR-10's shape: the loops' speed does not depend on what the images show."""
    random = torch.Generator().manual_seed(0)
    return ImageTensors(
        torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=random),
        torch.arange(images) % 10,
        tuple("0123456789"),
    )


def load_pool(tar: Path | None, images: int) -> ImageTensors:
    """The images of a tar of class folders, at 32 pixels; without one, `images` of random pixels."""
    if tar is None:
        return cifar_like(images)
    cache = Path("~/.cache/tlcl").expanduser()
    return load_folder(tar, size=32, channels=3, on_bad_image="error", cache=cache).data


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


def fresh_network(*, channels_last: bool) -> tuple[Blocks, Backbone]:
    """The network of every loop, with the same initial weights each time."""
    net, backbone = build_model(MODEL, 10, 0)
    return net.to(memory_format=torch.channels_last) if channels_last else net, backbone


def prepare() -> None:
    """Silence libraries, and let every loop keep freed memory as `tlcl.train` does.

    Otherwise how often it is handed back to the kernel depends on what ran before in the process, and loops of
    equal work differ by a tenth.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    keep_freed_memory()


def measure(loops: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each loop gives in each round, after one round to warm up; in a round they take turns."""
    measured: dict[str, list[T]] = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, loop in loops.items():
            gc.collect()  # a Trainer is in a cycle: its network would weigh on the next loop
            taken = loop()
            if turn > 0:
                measured[name].append(taken)
    return measured


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds of the ratio within each."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def facts() -> str:
    """Threads, processor and versions, on which every figure depends."""
    versions = [f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{torch.get_num_threads()} threads, {os.cpu_count()} processors ({platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}); {', '.join(versions)}"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """An aligned Markdown table whose first `names` columns are text and the others numbers."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width if place < names else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    lines = [
        [cell.ljust(width) if place < names else cell.rjust(width)
         for place, (cell, width) in enumerate(zip(line, widths, strict=True))]
        for line in (header, rule, *rows)
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
