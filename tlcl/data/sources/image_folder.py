"""A user's own images: a folder with one folder a class, or a tar file of one; decoded once, cached by content."""

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.images.decode import BadImage, SizedImage, decode_sized
from tlcl.data.images.files import Content, read_files
from tlcl.data.images.walk import class_folders
from tlcl.data.splits import stratified_order
from tlcl.errors import UserError, printable
from tlcl.system.files import atomic_open, remove_partials
from tlcl.system.text import plain

log = logging.getLogger(__name__)
DECODER = "5"  # part of every cache key: raise it when decode_image gives other pixels, or the files other parts
LISTED = 20


@dataclass(frozen=True)
class Decoded:
    """`skipped` names the unreadable files that were left out, each with the reason."""

    data: ImageTensors
    skipped: tuple[str, ...]


def load_folder(path: Path, *, size: int, channels: int, on_bad_image: str, cache: Path) -> Decoded:
    """Decode a folder (or tar) of class folders, or take the result from the cache.

    The cache key is the content: names and bytes of all files, `size`, `channels` and the decoder's version.

    Raises:
        UserError: bad files when `on_bad_image` is `error`, all of them named; no or one class; a class
            folder without files; files outside the class folders only.
    """
    read = tqdm(read_files(path), desc=f"read {path.name}", unit=" files", delay=1.0, leave=False, disable=None)
    files = sorted(read, key=lambda item: item[0])  # a tar file keeps whatever order it was packed in
    _check_classes(path, {name.parts[0] for name, _ in files if len(name.parts) > 1})
    digest = hashlib.blake2b(f"{DECODER}/{size}/{channels}".encode(), digest_size=16)
    for name, content in files:
        if isinstance(content, bytes):
            about, known = str(len(content)), content
        else:
            about, known = "unread", str(content).encode("utf-8", "surrogateescape")
        digest.update(f"{name}\0{about}\0".encode("utf-8", "surrogateescape"))
        digest.update(known)
    cached = cache / "images" / f"{digest.hexdigest()}.safetensors"
    decoded = _from_cache(cached)
    if decoded is None:
        decoded = _decode_all(path, files, size, channels)
        _to_cache(cached, decoded)
    if decoded.skipped and on_bad_image == "error":
        shown = "; ".join(decoded.skipped[:LISTED])
        more = f"; and {len(decoded.skipped) - LISTED} more" if len(decoded.skipped) > LISTED else ""
        raise UserError(
            f"{len(decoded.skipped)} of {len(files)} files in {path} are not readable images: {shown}{more} "
            "(mend or remove them, or leave them out with data.on_bad_image=skip)"
        )
    if decoded.skipped:
        log.warning("left out %d unreadable files of %s", len(decoded.skipped), path)
    return decoded


def _check_classes(path: Path, found: set[str]) -> None:
    """That every class folder holds a file; a network without its class would be a surprise.

    Raises:
        UserError: names the first that does not.
    """
    hollow = [name for name in class_folders(path) if name not in found] if path.is_dir() else []
    if found and hollow:
        raise UserError(f"the class folder {hollow[0]!r} in {path} holds no images; put some there or remove it")


def _decode_all(path: Path, files: list[tuple[PurePosixPath, Content]], size: int, channels: int) -> Decoded:
    def attempt(item: tuple[PurePosixPath, Content]) -> SizedImage | str:
        name, content = item
        try:
            if isinstance(content, BadImage):
                raise content
            return decode_sized(content, size, channels)
        except BadImage as bad:
            return f"{str(name)!r} ({bad})"

    in_class = [item for item in files if len(item[0].parts) > 1]
    # Pillow decodes outside Python's lock, so threads share the work.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(
            tqdm(
                pool.map(attempt, in_class),
                total=len(in_class),
                desc=f"decode {path.name}",
                unit=" images",
                disable=None,
            )
        )
    stray = [f"{str(name)!r} (not in a class folder)" for name, _ in files if len(name.parts) < 2]
    bad = stray + [result for result in results if isinstance(result, str)]
    good = [
        (name, result)
        for (name, _), result in zip(in_class, results, strict=True)
        if isinstance(result, SizedImage)
    ]
    classes = tuple(sorted({name.parts[0] for name, _ in in_class}))
    empty = sorted(set(classes) - {name.parts[0] for name, _ in good})
    if len(classes) < 2:
        inside = f"its {len(files)} files are in no class folder" if files else "it holds none"
        if classes:
            meant = f"did you mean {printable(path / classes[0])}?"
            hint = meant if path.is_dir() else "pack that folder's contents instead"
            inside = f"it holds only {classes[0]!r}; {hint}"
        raise UserError(f"{path} must hold at least two class folders with images; {inside}")
    if empty:
        first = next(
            result for (name, _), result in zip(in_class, results, strict=True) if name.parts[0] == empty[0]
        )
        raise UserError(f"no file of the class {empty[0]!r} in {path} is a readable image; first: {first}")
    number = {label: index for index, label in enumerate(classes)}
    return Decoded(
        ImageTensors(
            torch.stack([image.pixels for _, image in good]),
            torch.tensor([number[name.parts[0]] for name, _ in good]),
            tuple(map(plain, classes)),
            tuple(map(str, (name for name, _ in good))),
            torch.tensor([image.original for _, image in good], dtype=torch.int32),
        ),
        tuple(bad),
    )


def _to_cache(cached: Path, decoded: Decoded) -> None:
    about = {"classes": json.dumps(decoded.data.classes), "skipped": json.dumps(decoded.skipped)}
    # A tensor, as the header is limited; JSON, as bytes of a name that are no UTF-8 come back.
    names = torch.frombuffer(bytearray(json.dumps(decoded.data.names).encode()), dtype=torch.uint8)
    tensors = {"images": decoded.data.images, "labels": decoded.data.labels, "names": names}
    if decoded.data.sizes is not None:
        tensors["sizes"] = decoded.data.sizes
    try:
        remove_partials(cached.parent)
        with atomic_open(cached) as file:
            file.write(save(tensors, about))
    except OSError as error:
        log.warning("decoded images are not cached: %s", error)


def _from_cache(cached: Path) -> Decoded | None:
    if not cached.is_file():
        return None
    try:
        with safe_open(cached, framework="pt") as file:
            about = file.metadata()
            data = ImageTensors(
                file.get_tensor("images"),
                file.get_tensor("labels"),
                tuple(json.loads(about["classes"])),
                tuple(json.loads(file.get_tensor("names").numpy().tobytes())),
                file.get_tensor("sizes"),
            )
            return Decoded(data, tuple(json.loads(about["skipped"])))
    except (SafetensorError, OSError, KeyError, ValueError, UserError):
        log.warning("the cached images %s are damaged and are decoded again", cached)
        return None


@dataclass
class ImageFolderConfig(DataConfig):
    train: str = "???"
    test: str | None = None
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    size: Annotated[int, Ge(4), Lt(8192)] = 64
    channels: Annotated[int, OneOf(1, 3)] = 3
    on_bad_image: Annotated[str, OneOf("error", "skip")] = "error"


@register("data", "image_folder", ImageFolderConfig)
def load_image_folder(config: ImageFolderConfig, cache_dir: str | Path) -> Source:
    """`data=image_folder`: a test folder of its own, or `test_fraction` of the images, the same for every seed."""

    def read(path: str) -> Decoded:
        return load_folder(
            Path(path).expanduser(),
            size=config.size,
            channels=config.channels,
            on_bad_image=config.on_bad_image,
            cache=Path(cache_dir),
        )

    pool = read(config.train)
    if config.test is not None:
        test = read(config.test)
        origin = f"in a separate {_kind(config.test)}"
        return Source(pool.data, test.data, len(pool.skipped) + len(test.skipped), origin)
    held_out = round(len(pool.data) * config.test_fraction)
    if not 0 < held_out < len(pool.data):
        raise UserError(
            f"data.test_fraction={config.test_fraction} of {len(pool.data)} images leaves a split empty"
        )
    order = stratified_order(pool.data.labels, 0, "split/test")
    train, test_part = (_part(pool.data, part.sort().values) for part in (order[held_out:], order[:held_out]))
    return Source(train, test_part, len(pool.skipped), f"held out of the same {_kind(config.train)}")


def _kind(path: str) -> str:
    return "folder" if Path(path).expanduser().is_dir() else "tar file"


def _part(data: ImageTensors, indices: Tensor) -> ImageTensors:
    """A copy of the images `indices` (n,) with all that belongs to them."""
    return ImageTensors(
        data.images[indices],
        data.labels[indices],
        data.classes,
        tuple(data.names[index] for index in indices.tolist()),
        None if data.sizes is None else data.sizes[indices],
    )
