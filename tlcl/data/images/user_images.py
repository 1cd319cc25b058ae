"""A user's images, files, folders and archives of them, decoded as a run's own were."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.data.images.archives import by_name, is_archive
from tlcl.data.images.decode import BadImage, decode_image
from tlcl.data.images.files import Content, read_file, read_files
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.walk import image_paths, is_other
from tlcl.errors import UserError
from tlcl.system.figures import counted

LISTED = 20  # files that are named


def find_images(paths: list[Path]) -> list[Path]:
    """Every file named, and every file below every folder named, in order; hidden files are passed over.

    Raises:
        UserError: a path that does not exist or cannot be listed, or no files at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += image_paths(path)
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist")
    if not found:
        raise UserError(f"no image files in {', '.join(map(str, paths))}")
    return found


def read_contents(paths: list[Path]) -> Iterator[tuple[Path, Content]]:
    """(name, bytes) of all that `find_images` finds, or why it cannot be read; an archive named is what it holds.

    Raises:
        UserError: as `find_images`, and a damaged archive.
    """
    for path in find_images(paths):
        if path in paths and is_archive(path):
            for name, inside in read_files(path):
                if not is_other(name):
                    yield path / name, inside
        else:
            yield path, by_name(path.name) or read_file(path)


class Images(NamedTuple):
    """The readable images: uint8 (N, channels, size, size), and the names of their files."""

    files: list[Path]
    images: Tensor


def read_images(
    paths: list[Path],
    size: int,
    channels: int,
    pixel_range: PixelRange | None = None,
    *,
    skip_bad: bool,
    progress: bool,
) -> Images:
    """Decode a user's images as the run's own were decoded.

    Raises:
        UserError: unreadable images, all of them named, unless `skip_bad`, which names them on standard error.
    """
    files, images, bad = [], [], []
    for file, content in tqdm(read_contents(paths), desc="decode", unit=" images", disable=not progress):
        try:
            if isinstance(content, BadImage):
                raise content
            images.append(decode_image(content, size, channels, pixel_range))
            files.append(file)
        except BadImage as error:
            bad.append(f"{str(file)!r} ({error})")
    if bad and not skip_bad:
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise UserError(
            f"{counted(len(bad), 'file is no readable image', 'files are no readable images')}: "
            f"{'; '.join(bad[:LISTED])}{more} (leave {'it' if len(bad) == 1 else 'them'} out with --skip-bad)"
        )
    if not images:
        raise UserError("none of the files is a readable image")
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    return Images(files, torch.stack(images))
