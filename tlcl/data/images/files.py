"""The bytes of a user's image files, from a folder or an archive; only what is a file of them is ever read.

In a folder links are followed wherever they lead, as one made by hand often is all links. An archive may come from
anybody: see `tlcl.data.images.archives`.
"""

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tlcl.data.images.archives import LARGEST, archive_files, by_name
from tlcl.data.images.decode import BadImage
from tlcl.data.images.walk import files_below
from tlcl.errors import UserError
from tlcl.system.bounded_map import bounded_map

Content = bytes | BadImage  # BadImage: why a file was not read


class Stamp(NamedTuple):
    """What changes when a file does, or another takes its place: its bytes, times in ns, and its number."""

    size: int
    modified: int
    changed: int
    number: int

    @property
    def newest(self) -> float:
        """When it was last changed, in seconds; on Windows, which does not say, when its content was."""
        return (self.changed if os.name == "posix" else max(self.modified, self.changed)) / 1e9


def stamp_of(path: str) -> Stamp | None:
    """None where it cannot be looked at."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return Stamp(about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


def read_file(path: Path) -> Content:
    """The bytes of one file; a pipe or a device, which could go on for ever, is none."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return BadImage("no ordinary file")
        return path.read_bytes() if about.st_size <= LARGEST else BadImage("larger than 1 GiB")
    except (OSError, ValueError) as error:
        return BadImage(getattr(error, "strerror", None) or str(error))


def read_files(path: Path, names: Collection[str] | None = None) -> Iterator[tuple[str, Content]]:
    """(class/.../name, bytes) of every file but system litter, or of those `names`; held a few at a time.

    A file whose ending says that it is no image is not read, but `BadImage(NO_IMAGE)`.

    Raises:
        UserError: `path` is neither a folder that can be listed nor a readable archive.
    """
    if path.is_dir():
        wanted = files_below(path) if names is None else names
        yield from bounded_map(lambda name: (name, by_name(name) or read_file(path / name)), wanted)
    elif path.is_file():
        chosen = None if names is None else set(names)
        yield from archive_files(path, chosen)
    else:
        raise UserError(
            f"{path} does not exist; give a folder with one folder a class, or a tar or zip file of one"
        )
