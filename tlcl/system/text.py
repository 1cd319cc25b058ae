"""Names and values as they are shown: they come from folders, files and other people's runs."""

import unicodedata
from collections.abc import Collection, Sequence
from typing import TypeVar

T = TypeVar("T")


def shown(value: object) -> str:
    """As Python writes it, in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def twice(values: Sequence[T]) -> list[T]:
    """Those that an earlier one is equal to."""
    return [value for place, value in enumerate(values) if value in values[:place]]


def plain(text: object) -> str:
    """What any file and picture can hold: bytes of a file's name that are no UTF-8 are written as `\\udcff`."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def columns_wide(text: str) -> int:
    """How many columns of a terminal it takes: two for a wide letter, none for an accent of its own."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def aligned_rows(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A line a row, its cells below those of the row before.

    Args:
        rows: all of one length.
        right: the columns whose cells end below each other.
    """
    widths = [max(map(columns_wide, column)) for column in zip(*rows, strict=True)]

    def cell(text: str, place: int) -> str:
        space = " " * (widths[place] - columns_wide(text))
        return space + text if place in right else text + space

    return ["  ".join(cell(text, place) for place, text in enumerate(row)).rstrip() for row in rows]
