"""What one of torchvision's data sets holds, known at a later start without opening it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torchvision

from tlcl.data.images.files import stamp_of
from tlcl.data.images.walk import files_below
from tlcl.data.sources.torchvision_parts import open_parts
from tlcl.data.sources.torchvision_sets import TorchvisionSet, known_set
from tlcl.errors import UserError
from tlcl.system.files import atomic_write_text


class Index(NamedTuple):
    """Names of classes, and part -> labels of its images, 0..K-1, in torchvision's order."""

    classes: tuple[str, ...]
    labels: Mapping[str, list[int]]


class Opened:
    """The readers of a set's parts, opened only when they are asked for.

    Attributes:
        fingerprint: of its files as they were when the readers were opened; until then, as they are found.
    """

    def __init__(self, name: str, root: Path, download: bool) -> None:
        self.name, self.root, self.download = name, root, download
        self.known = known_set(name)
        self.parts: dict[str, Any] | None = None
        self.fingerprint = fingerprint(self.known, root)

    def open(self) -> dict[str, Any]:
        if self.parts is None:
            self.parts = open_parts(self.name, self.known, self.root, self.download)
            self.fingerprint = fingerprint(self.known, self.root)
        return self.parts

    def index(self, folder: Path) -> Index:
        """From a file in `folder`, or from the readers."""
        if self.fingerprint is not None:
            with suppress(OSError, ValueError, TypeError, KeyError):
                held = json.loads(self._index_file(folder).read_bytes())
                return Index(tuple(held["classes"]), held["labels"])
        index = _index_of(self.known, self.open())
        with suppress(OSError):
            atomic_write_text(self._index_file(folder), json.dumps(index._asdict()))
        return index

    def _index_file(self, folder: Path) -> Path:
        # Another version of torchvision may have other names of classes.
        about = f"{self.name}/{torchvision.__version__}/{self.fingerprint}"
        key = hashlib.blake2b(about.encode(), digest_size=16).hexdigest()
        return folder / f"{key}.torchvision.json"


def fingerprint(known: TorchvisionSet, root: Path) -> str | None:
    """Of names, sizes and times of change of all that the set is read from; None where some of it is missing."""
    about = hashlib.blake2b(digest_size=16)
    for file in known.files:
        path = root / file
        if not path.exists():
            return None
        for name in files_below(path) if path.is_dir() else [""]:
            one = f"{file}/{name}" if name else file
            stamp = stamp_of(str(root / one))
            if one in known.files or one not in known.archives:  # archives may be removed once they are unpacked
                about.update(f"{one}\0{tuple(stamp or ())}\n".encode("utf-8", "surrogateescape"))
    return about.hexdigest()


def _index_of(known: TorchvisionSet, parts: Mapping[str, Any]) -> Index:
    """What the open parts say.

    Raises:
        UserError: they have different classes.
    """
    classes = {part: _classes(known, reader) for part, reader in parts.items()}
    for part, names in classes.items():
        if names != classes["train"]:
            raise UserError(f"the train and {part} parts of {known.reader} have different classes")
    labels = {part: [int(label) - known.first for label in known.labels(reader)] for part, reader in parts.items()}
    return Index(classes["train"], labels)


def _classes(known: TorchvisionSet, reader: Any) -> tuple[str, ...]:
    names: Iterable[Any] | None = getattr(reader, known.names, None) if known.names else None
    if names is None:
        return tuple(map(str, range(known.count or 0)))
    return tuple(name if isinstance(name, str) else str(name[0]) for name in list(names)[known.first :])
