"""The images of one folder or archive of class folders, decoded once and stored; each fault is a sentence."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.data.image_tensors import UNKNOWN, ImageTensors
from tlcl.data.images.archives import NO_IMAGE, kind_of_archive
from tlcl.data.images.contents import Digests, digest_of, digests_below
from tlcl.data.images.decode import BadImage, decode_sized
from tlcl.data.images.files import Content, read_files
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.store import Order, Plan, Result, Rows, build_rows, open_rows
from tlcl.data.images.walk import class_folders, files_below, is_other
from tlcl.data.sources.class_names import class_of, is_split, look_alike, part_of, sorted_classes
from tlcl.data.splits import stratified_order
from tlcl.errors import UserError, printable
from tlcl.system.bounded_map import bounded_map
from tlcl.system.figures import counted
from tlcl.system.files import atomic_write_text

log = logging.getLogger(__name__)
DECODER = "6"  # part of every cache key: raise it when decode_image gives other pixels, or the files other parts
LISTED, NAMED = 20, 3
DIM = 0.25  # of their range that the brightest image of more than 8 bits should reach


class Decoding(NamedTuple):
    """How a file becomes (channels, size, size), see `decode_sized`, and what is done about one that cannot.

    Attributes:
        on_bad_image: `error` or `skip`.
        cache: the folder that keeps what is decoded.
    """

    size: int
    channels: int
    on_bad_image: str
    cache: Path
    pixel_range: PixelRange | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    @property
    def folder(self) -> Path:
        return self.cache / "images"

    @property
    def text(self) -> str:
        return f"{DECODER}/{self.size}/{self.channels}/{self.pixel_range and tuple(self.pixel_range)}"


@dataclass(frozen=True)
class Decoded:
    """The images of one folder.

    Attributes:
        data: all of them; those that are held out come last.
        skipped: the unreadable files that were left out, each with the reason.
        held_out: how many are.
    """

    data: ImageTensors
    skipped: tuple[str, ...]
    held_out: int = 0


@dataclass(frozen=True)
class Classes:
    """Which classes a folder has.

    Attributes:
        names: in order; None: those of its folders.
        sort: see `sorted_classes`.
        part: what the folder is, where names are given: test or validation.
    """

    names: tuple[str, ...] | None = None
    sort: str = "numbers"
    part: str = "test"


def load_folder(
    path: Path, decoding: Decoding, classes: Classes = Classes(), *, held_out: float = 0.0
) -> Decoded:
    """Decode a folder, tar or zip file of class folders, or take the result from the store.

    The store's key is the content: names and bytes of all files, and how they are decoded. At a later start only
    files whose size or time of change is another are read.

    Args:
        classes: of a training folder are its own; those of another folder are given, and it may lack some.
        held_out: share of the images, stratified and the same for every seed, that is put last.

    Raises:
        UserError: bad files when `on_bad_image` is `error`, all of them named; no or one class, or one that is not
            among those given; a class folder without files; files outside the class folders only; a folder of
            train and test folders.
    """
    files = _image_files(path, decoding.cache)
    names = _classes(path, files, classes)
    order = _Order(names, held_out)
    rows = _rows(path, {name: digest for name, digest in files.items() if "/" in name}, decoding, order)
    bad = [f"{name!r} (not in a class folder)" for name in files if "/" not in name]
    bad += [f"{name!r} ({reason})" for name, reason in rows.bad]
    if classes.names is None:
        _check_readable(path, names, rows)
    elif not rows.names:
        raise UserError(f"none of the files in {path} is a readable image; {bad[0]}")
    _tell_bad(path, bad, len(files), decoding.on_bad_image)
    _tell_dim(path, rows, decoding.pixel_range)
    number = {name: index for index, name in enumerate(names)}
    labels = torch.tensor([number[class_of(name)] for name in rows.names])
    data = ImageTensors(rows.images, labels, names, rows.names, rows.sizes, rows.digests)
    return Decoded(data, tuple(bad), order.held_out(len(data)))


def load_unlabelled(path: Path, decoding: Decoding, classes: tuple[str, ...]) -> Decoded:
    """Decode all images below a folder or in an archive, in whatever folders they are; their labels are -1.

    Args:
        classes: that they may be of.

    Raises:
        UserError: as `load_folder`; no image at all.
    """
    files = _image_files(path, decoding.cache)
    rows = _rows(path, files, decoding, _Order((), 0.0))
    bad = [f"{name!r} ({reason})" for name, reason in rows.bad]
    if not rows.names:
        raise UserError(f"{path} holds no readable image{f'; first: {bad[0]}' if bad else ''}")
    _tell_bad(path, bad, len(files), decoding.on_bad_image)
    _tell_dim(path, rows, decoding.pixel_range)
    labels = torch.full((len(rows.names),), UNKNOWN)
    return Decoded(ImageTensors(rows.images, labels, classes, rows.names, rows.sizes, rows.digests), tuple(bad))


def has_class_folders(path: Path, cache: Path) -> bool:
    """Whether any of its images lies in a folder of its own; of a folder's files the names alone are looked at."""
    names = files_below(path) if path.is_dir() else digests_below(path, cache)
    return any("/" in name and not is_other(name) for name in names)


class _Order(Order):
    """By name, and, with a share that is held out, that share behind the others."""

    def __init__(self, classes: Sequence[str], share: float) -> None:
        self.classes, self.share = classes, share

    def held_out(self, total: int) -> int:
        return round(total * self.share)

    def __call__(self, names: Sequence[str]) -> list[str]:
        count = self.held_out(len(names))
        if not 0 < count < len(names):
            return list(names)
        number = {name: index for index, name in enumerate(self.classes)}
        labels = torch.tensor([number[class_of(name)] for name in names])
        order = stratified_order(labels, 0, "split/test")
        parts = (order[count:].sort().values, order[:count].sort().values)
        return [names[index] for part in parts for index in part.tolist()]

    @property
    def text(self) -> str:
        return json.dumps([self.share, *self.classes]) if self.share else ""


def _classes(path: Path, files: Digests, wanted: Classes) -> tuple[str, ...]:
    """The classes in their order, after a look at the folders.

    Raises:
        UserError: see `load_folder`.
    """
    found = {name.split("/", 1)[0] for name in files if "/" in name}
    if is_split(found):
        raise UserError(_split_sentence(path, found))
    names = sorted_classes(map(class_of, (f"{name}/" for name in found)), wanted.sort)
    if wanted.names is not None:
        extra = [name for name in names if name not in wanted.names]
        if extra:
            raise UserError(
                f"training and {wanted.part} data have different classes: only in training "
                f"{[name for name in wanted.names if name not in names]}, only in {wanted.part} {extra} ({path})"
                f"{look_alike(extra, wanted.names)}"
            )
        if not names:
            raise UserError(f"{path} must hold class folders with images, as the training folder does")
        return wanted.names
    # A network without a folder's class would be a surprise.
    hollow = [name for name in class_folders(path) if name not in found] if path.is_dir() else []
    if found and hollow:
        raise UserError(f"the class folder {hollow[0]!r} in {path} holds no images; put some there or remove it")
    if len(names) < 2:
        raise UserError(f"{path} must hold at least two class folders with images; {_inside(path, files, found)}")
    return names


def _inside(path: Path, files: Digests, found: set[str]) -> str:
    """What there is in the place of two classes."""
    if not found:
        return f"its {counted(len(files), 'file is', 'files are')} in no class folder" if files else "it holds none"
    only = min(found)
    meant = f"did you mean {printable(path / only)}?" if path.is_dir() else "pack that folder's contents instead"
    return f"it holds only {only!r}; {meant}"


def _split_sentence(path: Path, found: set[str]) -> str:
    named = f"{path} holds {', '.join(sorted(found))}, which are parts of a data set and no classes"
    if not path.is_dir():
        return f"{named}; pack each by itself"
    parts = {part_of(name): printable(path / name) for name in sorted(found)}
    given = [f"data.{part}={parts[part]}" for part in ("train", "val", "test") if part in parts]
    return f"{named}; give {' '.join(given)}"


def _check_readable(path: Path, names: Sequence[str], rows: Rows) -> None:
    """That every class has an image.

    Raises:
        UserError: names the first that has none.
    """
    readable = set(map(class_of, rows.names))
    for name in names:
        if name not in readable:
            first = next(f"{file!r} ({reason})" for file, reason in rows.bad if class_of(file) == name)
            raise UserError(f"no file of the class {name!r} in {path} is a readable image; first: {first}")


def _tell_bad(path: Path, bad: Sequence[str], files: int, on_bad_image: str) -> None:
    if bad and on_bad_image == "error":
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise UserError(
            f"{len(bad)} of {counted(files, 'file')} in {path} cannot be read as images: "
            f"{'; '.join(bad[:LISTED])}{more} (mend or remove them, or leave them out with data.on_bad_image=skip)"
        )
    if bad:
        log.warning("left out %s of %s", counted(len(bad), "unreadable file"), path)


def _image_files(path: Path, cache: Path) -> Digests:
    """What may be an image; a line says of what is none by its name."""
    digests = digests_below(path, cache)
    files = {name: digest for name, digest in digests.items() if digest != f"!{NO_IMAGE}"}
    _tell_left_out(path, [name for name in digests if name not in files])
    return files


def _tell_left_out(path: Path, others: Sequence[str]) -> None:
    if others:
        shown = ", ".join(map(printable, others[:NAMED])) + (", ..." if len(others) > NAMED else "")
        what = "1 file that is no image by its name" if len(others) == 1 else (
            f"{len(others)} files that are no images by their names"
        )  # fmt: skip
        log.info("passed over %s in %s: %s", what, path, shown)


def _tell_dim(path: Path, rows: Rows, given: PixelRange | None) -> None:
    deep = rows.brightest[~rows.brightest.isnan()]
    if len(deep) and given is None and float(deep.max()) < DIM:
        log.warning(
            "warning: the images of more than 8 bits in %s use %.1f %% of their range at most and are dark; "
            "data.pixel_range=[LOW,HIGH] says which of their values are black and white",
            path, 100 * float(deep.max()),
        )  # fmt: skip


def _rows(path: Path, contents: Digests, decoding: Decoding, order: _Order) -> Rows:
    """From the store, or decoded; what another state of the same folder has in the store is not decoded again."""
    about = hashlib.blake2b(f"{decoding.text}/{order.text}".encode(), digest_size=16)
    for name, digest in contents.items():
        about.update(f"{name}\0{digest}\0".encode("utf-8", "surrogateescape"))
    key, last = about.hexdigest(), _last(path, decoding)
    rows = open_rows(decoding.folder, key, decoding.shape)
    if rows is None or _readable_now(path, rows, contents, decoding):
        plan = Plan(key, contents, order, decoding.shape, lambda: _results(path, contents, decoding, last))
        rows = build_rows(decoding.folder, plan)
    with suppress(OSError):
        if not last.is_file() or last.read_bytes() != key.encode():
            atomic_write_text(last, key)
    return rows


def _readable_now(path: Path, rows: Rows, contents: Mapping[str, str], decoding: Decoding) -> bool:
    """Whether a file that could not be decoded can be by now, with pillow-heif installed, for one."""
    again = [name for name, _ in rows.bad if not contents[name].startswith("!")]
    attempts = (_attempt(item, path, contents, decoding) for item in (read_files(path, again) if again else ()))
    return any(result.reason is None for result in attempts)


def _last(path: Path, decoding: Decoding) -> Path:
    """The file that names the latest store of this folder."""
    where = hashlib.blake2b(f"{decoding.text}/{path.resolve()}".encode("utf-8", "surrogateescape"), digest_size=16)
    return decoding.folder / "contents" / f"{where.hexdigest()}.last"


def _results(path: Path, contents: Mapping[str, str], decoding: Decoding, last: Path) -> Iterable[Result]:
    """What comes of each file."""
    known = _known(last, decoding)
    again = {name: row for name in contents if (row := known.row.get(contents[name])) is not None}
    wanted = [name for name in contents if name not in again and not contents[name].startswith("!")]
    yield from (Result(name, reason=why[1:]) for name, why in contents.items() if why.startswith("!"))
    for name, row in again.items():
        yield Result(name, known.images[row].numpy().tobytes(), known.originals[row], known.brightest[row])

    # Pillow decodes outside Python's lock, so threads share the work.
    attempt = partial(_attempt, path=path, contents=contents, decoding=decoding)
    decoded = bounded_map(attempt, read_files(path, wanted)) if wanted else ()
    yield from tqdm(decoded, f"decode {path.name}", len(wanted), unit=" images", disable=None if wanted else True)


def _attempt(item: tuple[str, Content], path: Path, contents: Mapping[str, str], decoding: Decoding) -> Result:
    """What comes of one file.

    Raises:
        UserError: it is another than it was a moment ago.
    """
    name, content = item
    if digest_of(content) != contents[name]:
        raise UserError(f"{path / name} changed while it was read; give the command again")
    try:
        if isinstance(content, BadImage):
            raise content
        image = decode_sized(content, decoding.size, decoding.channels, decoding.pixel_range)
    except BadImage as bad:
        return Result(name, reason=str(bad))
    return Result(name, image.pixels.numpy().tobytes(), image.original, image.brightest)


class _Known(NamedTuple):
    """Of an earlier store: the row of each file's content, and what the rows are."""

    row: dict[str, int]
    images: Tensor
    originals: list[tuple[int, int]]
    brightest: list[float]


def _known(last: Path, decoding: Decoding) -> _Known:
    with suppress(OSError, ValueError):
        rows = open_rows(decoding.folder, last.read_text("utf-8"), decoding.shape) if last.is_file() else None
        if rows is not None:
            row = {content: index for index, content in enumerate(rows.contents)}
            originals = [(wide, high) for wide, high in rows.sizes.tolist()]
            return _Known(row, rows.images, originals, rows.brightest.tolist())
    return _Known({}, torch.empty(0), [], [])


def kind_of(path: Path) -> str:
    """`folder`, `tar file` or `zip file`."""
    return "folder" if path.is_dir() else kind_of_archive(path)
