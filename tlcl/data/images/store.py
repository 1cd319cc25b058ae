"""Decoded images in a file that is mapped into memory: read when they are touched, however many there are.

A store is two files named by a hash of the content: `.images.bin`, all pixels one image after the other, and
`.safetensors`, what is known of each of them, which is written last and so says that both are whole.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tlcl.data.equal_images import pixel_digest
from tlcl.errors import UserError
from tlcl.system.files import atomic_open
from tlcl.system.mapped_file import tidy
from tlcl.system.memory import available_memory

log = logging.getLogger(__name__)
SAMPLED = 16  # rows whose pixels are looked at when a store is opened
COPIED = 64 << 20  # bytes that are copied at once


@dataclass(frozen=True)
class Rows:
    """Decoded images in the order in which they lie, and those that could not be.

    Attributes:
        images: uint8 (N, C, H, W); mapped, read-only.
        names: of their files.
        contents: digests of those files' bytes.
        sizes: int32 (N, 2), width and height of the originals.
        digests: uint8 (N, 16), of each image's pixels.
        bad: (name, reason) of each file that is no image.
        brightest: float32 (N,), how far in its range the brightest pixel of an image of more than 8 bits lay; else
            NaN.
    """

    images: Tensor
    names: tuple[str, ...]
    contents: tuple[str, ...]
    sizes: Tensor
    digests: Tensor
    brightest: Tensor
    bad: tuple[tuple[str, str], ...] = ()


class Result(NamedTuple):
    """What came of one file: pixels as they are stored, or `reason`, why there are none."""

    name: str
    pixels: bytes = b""
    original: tuple[int, int] = (0, 0)
    brightest: float = math.nan
    reason: str | None = None


class Order(Protocol):
    """The order in which images of these files lie."""

    def __call__(self, names: Sequence[str]) -> list[str]: ...


@dataclass(frozen=True)
class Plan:
    """What is to be decoded.

    Attributes:
        key: 32 hexadecimal digits that stand for the content of all files and for how they are decoded.
        contents: name -> digest of each file that may be an image.
        order: of the images.
        shape: (C, H, W).
        results: of the files, in any order; called again where the first try cannot be written.
    """

    key: str
    contents: Mapping[str, str]
    order: Order
    shape: tuple[int, int, int]
    results: Callable[[], Iterable[Result]]


def open_rows(folder: Path, key: str, shape: tuple[int, int, int]) -> Rows | None:
    """What is stored under `key`; None when it is not there, or, with a warning, when it is damaged."""
    about, pixels = _paths(folder, key)
    if not about.is_file() or not pixels.is_file():  # which is taken away when nobody opens it for a month
        return None
    try:
        with safe_open(about, framework="pt") as file:
            known = json.loads(file.get_tensor("known").numpy().tobytes())
            sizes, digests, brightest = (file.get_tensor(name) for name in ("sizes", "digests", "brightest"))
        count = len(known["names"])
        if pixels.stat().st_size != count * math.prod(shape) or {count} != {*map(len, (sizes, digests, brightest))}:
            raise ValueError
        with suppress(OSError):  # in a folder of others it can be read all the same
            os.utime(pixels)
        bad = tuple((str(name), str(reason)) for name, reason in known["bad"])
        images = _mapped(pixels, (count, *shape))
        if not _sound(images, digests):
            raise ValueError
        return Rows(
            images, tuple(known["names"]), tuple(known["contents"]), sizes, digests,
            brightest, bad,
        )  # fmt: skip
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        log.warning("the cached images %s are damaged and are decoded again", about)
        return None


def _sound(images: Tensor, digests: Tensor) -> bool:
    """Whether a sample of the images has the digests that they should have."""
    rows = range(0, len(images), max(1, len(images) // SAMPLED))
    return all(pixel_digest(images[row].numpy().tobytes()) == digests[row].numpy().tobytes() for row in rows)


def build_rows(folder: Path, plan: Plan) -> Rows:
    """Decode and store; with a warning only in memory, where the store cannot be written."""
    about, pixels = _paths(folder, plan.key)
    try:
        tidy(folder)
        with atomic_open(pixels) as file:
            names, found = _fill(_FileSink(file, math.prod(plan.shape)), plan)
    except OSError as error:
        _check_memory(len(plan.contents) * math.prod(plan.shape), folder, error)
        log.warning("decoded images are not cached: %s", error)
        sink = _MemorySink(len(plan.contents), math.prod(plan.shape))
        names, found = _fill(sink, plan)
        return _rows(torch.from_numpy(sink.array).view(-1, *plan.shape), names, found, plan)
    rows = _rows(_mapped(pixels, (len(names), *plan.shape)), names, found, plan)
    known = {"names": rows.names, "contents": rows.contents, "bad": rows.bad}
    # A tensor, as the header is limited; JSON, as bytes of a name that are no UTF-8 come back.
    packed = torch.frombuffer(bytearray(json.dumps(known).encode()), dtype=torch.uint8)
    try:
        with atomic_open(about) as file:
            tensors = {"sizes": rows.sizes, "digests": rows.digests, "brightest": rows.brightest}
            file.write(save({"known": packed, **tensors}))
    except OSError as error:
        log.warning("decoded images are not cached: %s", error)
    return rows


def _paths(folder: Path, key: str) -> tuple[Path, Path]:
    return folder / f"{key}.safetensors", folder / f"{key}.images.bin"


def _mapped(pixels: Path, shape: tuple[int, ...]) -> Tensor:
    """Read-only, so that it counts as nobody's memory and no mistake can change it."""
    if not math.prod(shape):  # which cannot be mapped
        return torch.empty(shape, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape))


class _FileSink:
    """Rows of a file that is being written."""

    def __init__(self, file: IO[bytes], row_bytes: int) -> None:
        self.file, self.row_bytes = file, row_bytes

    def put(self, row: int, content: bytes) -> None:
        self.file.seek(row * self.row_bytes)
        self.file.write(content)

    def arrange(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        self.file.flush()
        with (
            open(self.file.name, "rb") as written,
            tempfile.TemporaryFile(dir=os.path.dirname(self.file.name)) as spare,
        ):
            for row in rows:
                written.seek(row * self.row_bytes)
                spare.write(written.read(self.row_bytes))
            for file in (spare, self.file):
                file.seek(0)
            shutil.copyfileobj(spare, self.file, COPIED)
            self.file.truncate()


class _MemorySink:
    """Rows in memory."""

    def __init__(self, rows: int, row_bytes: int) -> None:
        self.array = np.empty((rows, row_bytes), dtype=np.uint8)

    def put(self, row: int, content: bytes) -> None:
        self.array[row] = np.frombuffer(content, dtype=np.uint8)

    def arrange(self, rows: Sequence[int]) -> None:
        self.array = self.array[list(rows)]


def _fill(sink: _FileSink | _MemorySink, plan: Plan) -> tuple[list[str], dict[str, Result]]:
    """Put every image in its place; returns the order in which they lie, and what came of each file."""
    names = plan.order(list(plan.contents))
    place = {name: row for row, name in enumerate(names)}
    found: dict[str, Result] = {}
    for result in plan.results():
        if result.reason is None:
            sink.put(place[result.name], result.pixels)
            result = result._replace(pixels=pixel_digest(result.pixels))
        found[result.name] = result
    good = plan.order([name for name in plan.contents if found[name].reason is None])
    if good != names:
        sink.arrange([place[name] for name in good])
    return good, found


def _rows(images: Tensor, names: list[str], found: Mapping[str, Result], plan: Plan) -> Rows:
    digests = np.frombuffer(b"".join(found[name].pixels for name in names), dtype=np.uint8).copy()
    return Rows(
        images,
        tuple(names),
        tuple(plan.contents[name] for name in names),
        torch.tensor([found[name].original for name in names], dtype=torch.int32).view(-1, 2),
        torch.from_numpy(digests).view(-1, 16),
        torch.tensor([found[name].brightest for name in names], dtype=torch.float32),
        tuple((name, one.reason) for name in plan.contents if (one := found[name]).reason is not None),
    )


def joined(folder: Path, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The images of all parts, uint8 (N, C, H, W), in a file of their own; in memory where it cannot be written.

    Args:
        parts: images, and the digests of their pixels, by which the file is found again.
    """
    shape = (sum(len(images) for images, _ in parts), *parts[0][0].shape[1:])
    known = torch.cat([digests for _, digests in parts])
    key = hashlib.blake2b(repr(shape).encode() + known.numpy().tobytes(), digest_size=16).hexdigest()
    pixels = folder / f"{key}.joined.bin"
    try:
        there = pixels.is_file() and pixels.stat().st_size == math.prod(shape)
        if not there or not _sound(_mapped(pixels, shape), known):
            with atomic_open(pixels) as file:
                for images, _ in parts:
                    for image in images:
                        file.write(image.numpy().tobytes())
        with suppress(OSError):
            os.utime(pixels)
        return _mapped(pixels, shape)
    except OSError as error:
        _check_memory(math.prod(shape), folder, error)
        log.warning("decoded images are not cached: %s", error)
        return torch.cat([images for images, _ in parts])


def _check_memory(size: int, folder: Path, error: OSError) -> None:
    """That images that cannot be stored have room in memory.

    Raises:
        UserError: they have not.
    """
    if size > available_memory():
        raise UserError(
            f"{size / 2**30:.1f} GiB of decoded images have no room in memory, and {folder} cannot be written "
            f"({error.strerror or error}); make room there, or set another cache_dir"
        )
