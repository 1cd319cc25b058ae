"""The files below a folder, through links to folders, without being caught in a loop of them."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from tlcl.errors import UserError

IGNORED = {"thumbs.db", "desktop.ini"}
Identity = tuple[int, int]  # device and inode: the same for every path that leads to a folder


def is_image_name(path: PurePath) -> bool:
    """Whether a file counts at all: system litter and hidden files do not."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.name.lower() not in IGNORED


def image_paths(root: Path) -> list[Path]:
    """Every file below `root` that `is_image_name` lets through, sorted; broken links are among them.

    Links to folders are followed, except one that leads back to a folder it lies in, by its path or in truth.

    Raises:
        UserError: a folder that cannot be listed, whose images would be missed in silence.
    """
    return sorted(path for path in map(Path, _below(str(root))) if is_image_name(path.relative_to(root)))


def class_folders(root: Path) -> list[str]:
    """The folders in `root` that stand for classes, with images in them or not, sorted."""
    inside = _folders_above(str(root)) | _identities(str(root))
    return sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and is_image_name(PurePath(path.name)) and not _identities(str(path)) & inside
    )


def _below(root: str) -> Iterator[str]:
    """Every file below `root`."""
    inside = {root: _folders_above(root) | _identities(root)}  # all that a folder lies in, itself among them
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        yield from (os.path.join(folder, name) for name in files)
        around, names, folders[:] = inside.pop(folder), list(folders), []
        for name in names:
            path = os.path.join(folder, name)
            here = _identities(path)
            # A hidden folder may link to half the disk.
            if is_image_name(PurePath(name)) and not here & around:
                folders.append(name)
                inside[path] = around | here | (_folders_above(path) if os.path.islink(path) else frozenset())


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror or error}") from None


def _identities(*folders: str) -> frozenset[Identity]:
    """Of the folders that can be looked at."""
    found = set()
    for folder in folders:
        try:
            status = os.stat(folder)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _folders_above(folder: str) -> frozenset[Identity]:
    return _identities(*map(str, Path(os.path.realpath(folder)).parents))
