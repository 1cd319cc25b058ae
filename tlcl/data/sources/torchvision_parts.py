"""The open parts of one of torchvision's data sets: of what lies at the root, or is downloaded there.

torchvision takes a folder that is there for whole, also one that a killed process was unpacking. So a set is
downloaded and unpacked in a folder of its own, and moved to the root when all of it is there. Images are counted.
"""

import logging
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torchvision import datasets
from torchvision.datasets.utils import download_url

from tlcl.data.sources.torchvision_sets import TorchvisionSet
from tlcl.errors import UserError
from tlcl.system.files import one_at_a_time

log = logging.getLogger(__name__)


class Unreadable(Exception):
    """A set is not there, or not all of it; the message says why in a few words."""


def open_parts(name: str, known: TorchvisionSet, root: Path, download: bool) -> dict[str, Any]:
    """train, and those that there are of val and test -> torchvision's reader of the part.

    Raises:
        UserError: it is not at `root`, or not whole, and cannot be downloaded; a package is missing.
    """
    if known.package and find_spec(known.package) is None:
        raise UserError(f"data.name={name} needs {known.package}: pip install 'tlcl[{known.extra}]'")
    missing = f"data.name={name} is not at data.root={root}"
    try:
        return _counted(name, known, root, _there(known, root))
    except Unreadable as error:
        reason = str(error)
    if not download:
        raise UserError(
            f"{missing} ({reason}); set data.download=true, which downloads it, or unpacks {known.wanted} (from "
            f"{known.origin}) if you have put that there"
        )
    try:
        with one_at_a_time(root / f".{name}.lock", lambda: log.info("another process downloads %s", name)):
            try:  # another process may have had it downloaded
                return _counted(name, known, root, _there(known, root))
            except Unreadable:
                _fetch(name, known, root)
            return _counted(name, known, root, _there(known, root))
    except (Unreadable, OSError) as error:
        raise UserError(
            f"{missing} ({reason}) and could not be downloaded ({_words(error)}); put {known.wanted} there, from "
            f"{known.origin}, and give the command again"
        ) from None


def _there(known: TorchvisionSet, root: Path) -> dict[str, Any]:
    for file in known.files:
        if not (root / file).exists():
            raise Unreadable(f"there is no {file}")
    return _read(known, root, download=False)


def _read(known: TorchvisionSet, root: Path, *, download: bool) -> dict[str, Any]:
    reader = getattr(datasets, known.reader)
    try:
        parts = {
            name: reader(str(root), download=download, **part.arguments) for name, part in known.parts.items()
        }
    except MemoryError:
        raise
    except Exception as error:  # what torchvision meets in damaged files and in a network is of nearly any type
        raise Unreadable(_words(error)) from None
    if known.unordered:
        for part in parts.values():
            pairs = sorted(zip(part._image_files, part._labels, strict=True))
            part._image_files, part._labels = ([pair[side] for pair in pairs] for side in (0, 1))
    return parts


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _counted(name: str, known: TorchvisionSet, root: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """The same, when all their images are there."""
    for part, one in known.parts.items():
        if len(parts[part]) != one.images:
            raise UserError(
                f"data.name={name}: at data.root={root} its {part} part has {len(parts[part]):,} images, not "
                f"{one.images:,}; remove {', '.join(known.files)} there and give the command again"
            )
    return parts


def _fetch(name: str, known: TorchvisionSet, root: Path) -> None:
    """Have the whole set in `root`, unpacked from archives that lie there, or else downloaded.

    Raises:
        Unreadable: it cannot be downloaded or unpacked.
        OSError: it cannot be written.
    """
    folder = root / f".{name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        for archive in known.archives:
            if (root / archive).is_file():
                (folder / archive).parent.mkdir(parents=True, exist_ok=True)
                _link(root / archive, folder / archive)
        if known.md5:
            _download_checked(known, folder)
        _counted(name, known, folder, _read(known, folder, download=True))
        _move(folder, root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download_checked(known: TorchvisionSet, folder: Path) -> None:
    """The one archive, which the reader then finds there."""
    reader = getattr(datasets, known.reader)
    try:
        download_url(reader._URL, str(folder), known.archives[0], known.md5)
    except Exception as error:
        raise Unreadable(_words(error)) from None


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        shutil.copy2(path, link)


def _move(source: Path, target: Path) -> None:
    """A folder that the target lacks is moved in one step, so that what is unpacked in it is there whole or not."""
    if source.is_dir() and target.is_dir():
        for inside in source.iterdir():
            _move(inside, target / inside.name)
    else:
        os.replace(source, target)
