"""Names of classes from the folders that hold them: one form of Unicode, numbers in the order of numbers."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from tlcl.system.text import plain

NUMBER = re.compile(r"-?\d+(\.\d+)?")
SPLITS = {  # names of folders that hold a part of a data set -> the key of that part
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def composed(name: str) -> str:
    """In Unicode's form C: a folder's name written on a Mac and the same written elsewhere are one."""
    return unicodedata.normalize("NFC", name)


def class_of(file: str) -> str:
    """The class of `class/.../name`."""
    return composed(plain(file.split("/", 1)[0]))


def sorted_classes(names: Iterable[str], by: str) -> tuple[str, ...]:
    """Each name once, in order.

    Args:
        by: `numbers`: where all names are numbers, in their order, else as text; `text`: as text.
    """
    ordered = sorted(set(names))
    if by == "numbers" and all(NUMBER.fullmatch(name) for name in ordered):
        ordered.sort(key=float)
    return tuple(ordered)


def look_alike(first: Sequence[str], second: Sequence[str]) -> str:
    """What tells apart two names, one of each, that differ in case and spaces alone; empty where there are none."""
    plainer = {"".join(name.casefold().split()): name for name in second}
    for name in first:
        other = plainer.get("".join(name.casefold().split()))
        if other is not None and other != name:
            return f"; {name!r} and {other!r} differ in capitals or spaces alone: give both folders one name"
    return ""


def is_split(names: Iterable[str]) -> bool:
    """Whether folders of these names are parts of a data set, not classes."""
    parts = {SPLITS.get(name.lower()) for name in names} - {None}
    return "train" in parts and len(parts) > 1
