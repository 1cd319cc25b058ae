"""`data=torchvision`: a public data set by its name, read by torchvision, decoded once and stored."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torchvision
from annotated_types import Ge, Gt, Lt
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.images.decode import fitted
from tlcl.data.images.store import Plan, Result, Rows, build_rows, open_rows
from tlcl.data.sources.folder_images import Decoding
from tlcl.data.sources.torchvision_index import Index, Opened, fingerprint
from tlcl.data.sources.torchvision_sets import known_set
from tlcl.data.splits import stratified_order
from tlcl.errors import UserError
from tlcl.system.bounded_map import bounded_map
from tlcl.system.figures import counted


@dataclass
class TorchvisionConfig(DataConfig):
    name: str = "???"
    root: str = "???"
    download: bool = True
    size: Annotated[int, Ge(4), Lt(8192)] = 64
    channels: Annotated[int, OneOf(1, 3)] = 3
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2

    def __post_init__(self) -> None:
        if self.name != "???":
            known_set(self.name)


@register("data", "torchvision", TorchvisionConfig)
def load_torchvision(config: TorchvisionConfig, cache_dir: str | Path) -> Source:
    """The data set `data.name` of `torchvision.datasets`, with the parts that its authors made.

    The pool is the training part and, where there is one, the validation part, which alone is validated on unless
    `data.val_size` is given. Of a set without a test part `data.test_fraction` is held out, stratified and the same
    for every seed. Images are cropped and resized by `tlcl.data.images.decode.fitted` and kept in the store; while
    the files have their names, sizes and times of change, a later start takes them from there and opens none.

    What is downloaded is checked by MD5 before it is unpacked or read, also what Python's pickle reads (CIFAR).

    Raises:
        UserError: no such name; it cannot be had, or not all of it; an image that cannot be read.
    """
    decoding = Decoding(config.size, config.channels, "error", Path(cache_dir))
    opened = Opened(config.name, Path(config.root).expanduser(), config.download)
    known, index = opened.known, opened.index(decoding.folder / "contents")
    held_out = _held_out(config, index) if "test" not in known.parts else None
    names = list(_names(index, held_out))
    labels = [index.labels[part][number] for part, number in map(_place, names)]
    rows = _rows(opened, names, labels, decoding)
    if rows.bad:
        (name, reason), files = rows.bad[0], ", ".join(known.files)
        raise UserError(
            f"{len(rows.bad)} of the {counted(len(names), 'image')} of data.name={config.name} at "
            f"data.root={opened.root} cannot be read, first {name} ({reason}); remove "
            f"{files} there and give the command again"
        )
    data = ImageTensors(rows.images, torch.tensor(labels), index.classes, rows.names, rows.sizes, rows.digests)
    train, val = (len(index.labels.get(part, ())) for part in ("train", "val"))
    pool = train + val if held_out is None else train - len(held_out)
    return Source(
        data.part(0, pool),
        data.part(pool, len(data)),
        test_origin=known.test_origin,
        val=torch.arange(train, pool) if val and config.val_size is None else None,
    )


def _place(name: str) -> tuple[str, int]:
    """Part and number of the image `train/00012`."""
    part, number = name.split("/")
    return part, int(number)


def _held_out(config: TorchvisionConfig, index: Index) -> Tensor:
    """Which images of the only part are for the test.

    Raises:
        UserError: the share leaves a split empty.
    """
    labels = torch.tensor(index.labels["train"])
    count = round(len(labels) * config.test_fraction)
    if not 0 < count < len(labels):
        raise UserError(f"data.test_fraction={config.test_fraction} of {len(labels)} images leaves a split empty")
    return stratified_order(labels, 0, "split/test")[:count]


def _names(index: Index, held_out: Tensor | None) -> Iterator[str]:
    """Of all images in the order in which they are stored: to train, to validate, to test."""
    last = set() if held_out is None else set(held_out.tolist())
    for part, labels in index.labels.items():
        yield from (f"{part}/{number:05d}" for number in range(len(labels)) if number not in last)
    yield from (f"train/{number:05d}" for number in sorted(last))


def _rows(opened: Opened, names: list[str], labels: list[int], decoding: Decoding) -> Rows:
    """From the store, or decoded."""
    about = f"{decoding.text}/{opened.name}/{opened.fingerprint}/{json.dumps([labels, names])}"
    key = hashlib.blake2b(about.encode(), digest_size=16).hexdigest()
    rows = open_rows(decoding.folder, key, decoding.shape)
    if rows is not None:
        return rows
    contents = dict.fromkeys(names, "")  # none has a digest: the key stands for all of them
    before = opened.fingerprint
    plan = Plan(
        key, contents, lambda chosen: list(chosen), decoding.shape,
        lambda: _results(opened, dict(zip(names, labels, strict=True)), decoding, before),
    )  # fmt: skip
    return build_rows(decoding.folder, plan)


def _results(
    opened: Opened, labels: Mapping[str, int], decoding: Decoding, before: str | None
) -> Iterator[Result]:
    """What comes of each image.

    Args:
        labels: of the images by name.
        before: the fingerprint that the store's key stands for.

    Raises:
        UserError: an image has another label, or the files have changed meanwhile.
    """
    known, parts = opened.known, opened.open()

    def attempt(name: str) -> Result:
        part, number = _place(name)
        try:
            image, label = parts[part][number]
            if known.transposed:
                image = image.transpose(Image.Transpose.TRANSPOSE)
            pixels = fitted(image, decoding.size, decoding.channels)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            return Result(name, reason=" ".join(str(error).split()) or type(error).__name__)
        if int(label) - known.first != labels[name]:
            raise UserError(
                f"torchvision {torchvision.__version__} gives the images of {opened.name} other labels than "
                "it lists; install the version in constraints.txt"
            )
        return Result(name, pixels.numpy().tobytes(), image.size)

    # Pillow decodes outside Python's lock, so threads share the work.
    decoded = bounded_map(attempt, labels)
    yield from tqdm(decoded, f"decode {opened.name}", len(labels), unit=" images", disable=None)
    if fingerprint(known, opened.root) != before:
        raise UserError(f"{opened.root} changed while it was read; give the command again")
