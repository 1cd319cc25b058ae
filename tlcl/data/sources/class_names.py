"""Names of classes from the folders that hold them: one form of Unicode, numbers in the order of numbers."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from tlcl.system.text import plain

NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Names of folders that hold a part of a data set: `train`, `Test_set`, `val-images`.
PART = re.compile(
    r"(?P<part>train|training|val|valid|validation|eval|dev|test|testing)"
    r"([ _-]?(set|data|images?|imgs?|split|folder))?"
)
KEYS = {"train": "train", "test": "test"}  # how the part's name begins -> the key that names it; others: val


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
    parts = {part_of(name) for name in names} - {None}
    return "train" in parts and len(parts) > 1


def part_of(name: str) -> str | None:
    """`train`, `val` or `test` of a folder that holds that part of a data set; None of another."""
    found = PART.fullmatch(name.lower())
    if found is None:
        return None
    return next((key for start, key in KEYS.items() if found["part"].startswith(start)), "val")
