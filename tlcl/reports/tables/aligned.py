"""A comparison's table for a terminal, with the columns that its page has."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tlcl.errors import printable

WIDTH = 100
LEAST = 12  # columns that are left to the methods' names, whatever else there is
HEADING = 12  # columns of a heading, which is broken between words


def _percent(row: Mapping[str, Any], key: str) -> str:
    mean, spread = row.get(key), row.get(f"{key}_std")
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def aligned(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], gaps: Mapping[str, float] | None = None
) -> str:
    """The rows of `read_table` as lines of at most `WIDTH` columns: in %, mean ± standard deviation over the seeds.

    Args:
        columns: key of a figure -> its heading.
        gaps: method -> how much of the gap between source only and all target labels it closes.
    """
    if not rows:
        return ""
    cells: dict[str, list[str]] = {}
    if any(row.get("labelled") for row in rows):
        cells["target labels given"] = [f"{row.get('labelled', 0):,}" for row in rows]
    for key, heading in columns.items():
        if key in rows[0]:
            cells[heading] = [_percent(row, key) for row in rows]
    if gaps:
        known = (gaps.get(row["method"]) for row in rows)
        cells["of the gap closed"] = ["-" if gap is None else f"{100 * gap:.0f}" for gap in known]
    if "a_distance" in rows[0]:
        far = (row["a_distance"] for row in rows)
        cells["proxy A-distance (0-2)"] = ["-" if value is None else f"{value:.2f}" for value in far]
    cells["runs"] = [f"{row['runs']} of {row['planned']}" for row in rows]
    headings = [textwrap.wrap(heading, HEADING) for heading in cells]
    widths = [
        max(map(len, [*heading, *column])) for heading, column in zip(headings, cells.values(), strict=True)
    ]
    room = max(LEAST, WIDTH - sum(2 + width for width in widths))
    names = [textwrap.wrap(printable(row["method"]), room) or [""] for row in rows]
    first = max(len(line) for name in [["method"], *names] for line in name)

    def lines(name: Sequence[str], texts: Sequence[Sequence[str]]) -> list[str]:
        height = max(len(name), *map(len, texts))
        parts = [
            [part[number] if number < len(part) else "" for part in (name, *texts)] for number in range(height)
        ]
        return [
            "  ".join([left.ljust(first), *(text.rjust(width) for text, width in zip(rest, widths, strict=True))])
            for left, *rest in parts
        ]

    seeds = max(row["planned"] for row in rows)
    spread = f": mean ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    body: list[str] = []
    for name, *texts in zip(names, *cells.values(), strict=True):
        body += lines(name, [[text] for text in texts])
    return "\n".join(line.rstrip() for line in [f"in %{spread}", *lines(["method"], headings), *body])
