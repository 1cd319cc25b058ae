"""`data=image_folder`: a user's own images, one folder a class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt

from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.store import joined
from tlcl.data.sources.folder_images import (
    Classes,
    Decoded,
    Decoding,
    has_class_folders,
    kind_of,
    load_folder,
    load_unlabelled,
)
from tlcl.errors import UserError
from tlcl.system.figures import counted


@dataclass
class ImageFilesConfig(DataConfig):
    """How files of images are read, and which are held out for the test."""

    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    size: Annotated[int, Ge(4), Lt(8192)] = 64
    channels: Annotated[int, OneOf(1, 3)] = 3
    on_bad_image: Annotated[str, OneOf("error", "skip")] = "error"
    pixel_range: list[float] = field(default_factory=list)
    sort_classes: Annotated[str, OneOf("numbers", "text")] = "numbers"
    labels: Annotated[str, OneOf("folders", "none")] = "folders"


@dataclass
class ImageFolderConfig(ImageFilesConfig):
    train: str = "???"
    val: str | None = None
    test: str | None = None


def decoding_of(config: ImageFilesConfig, cache_dir: str | Path) -> Decoding:
    """How the config has files decoded.

    Raises:
        UserError: a range of pixels that is none.
    """
    given: Sequence[float] = config.pixel_range
    if given and not (len(given) == 2 and given[0] < given[1]):
        raise UserError(f"data.pixel_range={list(given)} must be two numbers, black and white, e.g. [0,4095]")
    limits = PixelRange(*map(float, given)) if given else None
    return Decoding(config.size, config.channels, config.on_bad_image, Path(cache_dir), limits)


def check_labels(config: ImageFilesConfig) -> None:
    """That there are labels to learn from.

    Raises:
        UserError: `labels=none`.
    """
    if config.labels == "none":
        raise UserError("data.labels=none is for the target of an adaptation; all else learns from labels")


@register("data", "image_folder", ImageFolderConfig)
def load_image_folder(config: ImageFolderConfig, cache_dir: str | Path) -> Source:
    """A test folder of its own, or `test_fraction` of the images, the same for every seed; so for validation."""
    check_labels(config)
    decoding = decoding_of(config, cache_dir)
    train, sort = Path(config.train).expanduser(), config.sort_classes
    pool = load_folder(
        train, decoding, Classes(sort=sort), held_out=config.test_fraction if config.test is None else 0.0
    )
    skipped, classes = len(pool.skipped), pool.data.classes
    if config.test is None:
        images, test, origin = *_held_out(pool, config), f"held out of the same {kind_of(train)}"
    else:
        path = Path(config.test).expanduser()
        apart = load_folder(path, decoding, Classes(classes, sort))
        images, test, origin = pool.data, apart.data, f"in a separate {kind_of(path)}"
        skipped += len(apart.skipped)
    if config.val is None:
        return Source(images, test, skipped, origin)
    path = Path(config.val).expanduser()
    val = load_folder(path, decoding, Classes(classes, sort, "validation"))
    both = _with_validation(images, val.data, decoding)
    return Source(both, test, skipped + len(val.skipped), origin, torch.arange(len(images), len(both)))


def load_image_target(config: ImageFolderConfig, cache_dir: str | Path, classes: tuple[str, ...]) -> Source:
    """A target domain that may have no labels: none with `labels=none`, or where no image is in a class folder.

    Its test images are those of `test`, which have labels; without `test`, they are its own.

    Args:
        classes: of the labelled source.
    """
    decoding, path = decoding_of(config, cache_dir), Path(config.train).expanduser()
    if config.labels == "folders" and has_class_folders(path, decoding.cache):
        return load_image_folder(config, cache_dir)
    if config.val is not None:
        raise UserError(f"data.val={config.val}: a target without labels is not validated by them; leave it out")
    pool = load_unlabelled(path, decoding, classes)
    if config.test is None:
        return Source(pool.data, pool.data, len(pool.skipped), "which have no labels")
    there = Path(config.test).expanduser()
    test = load_folder(there, decoding, Classes(classes, config.sort_classes))
    skipped = len(pool.skipped) + len(test.skipped)
    return Source(pool.data, test.data, skipped, f"in a separate {kind_of(there)}")


def _held_out(pool: Decoded, config: ImageFolderConfig) -> tuple[ImageTensors, ImageTensors]:
    """To learn from, and to test on."""
    left, total = len(pool.data) - pool.held_out, len(pool.data)
    if not 0 < left < total:
        nothing = "none to test on" if left else "none to learn from"
        raise UserError(
            f"data.test_fraction={config.test_fraction} of {counted(total, 'image')} leaves {nothing}; add "
            "images, or give others to test on: data.test=FOLDER"
        )
    return pool.data.part(0, left), pool.data.part(left, total)


def _with_validation(images: ImageTensors, val: ImageTensors, decoding: Decoding) -> ImageTensors:
    """Both, those of validation last, below `val/`, whatever their folder is called."""
    names = (*images.names, *(f"val/{name}" for name in val.names))
    return together([images, val], names, decoding)


def together(parts: Sequence[ImageTensors], names: tuple[str, ...], decoding: Decoding) -> ImageTensors:
    """The images of files of several folders, which have the same classes, one after another."""
    sizes, digests = [], []
    for part in parts:
        assert part.sizes is not None
        assert part.digests is not None
        sizes.append(part.sizes)
        digests.append(part.digests)
    pixels = joined(decoding.folder, [(part.images, own) for part, own in zip(parts, digests, strict=True)])
    labels = torch.cat([part.labels for part in parts])
    return ImageTensors(pixels, labels, parts[0].classes, names, torch.cat(sizes), torch.cat(digests))
