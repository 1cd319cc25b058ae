"""One measurement, as the register keeps it: numbers with their intervals, tables, and how it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.common import markdown
from tlcl.system.figures import count, duration, percent, points, points_spread, signed_points, three_digits

WRITTEN = {
    "percent": percent,
    "points": points,
    "signed": signed_points,
    "seconds": duration,
    "count": count,
    "number": three_digits,
}


@dataclass(frozen=True)
class Value:
    """One number.

    Attributes:
        kind: how it is written: `percent` (0.776 as 77.6 %), `points` (77.6), `signed` (+1.2, of a share),
            `seconds`, `count` or `number`.
        low, high: its 95 % interval, in the same unit.
        spread: standard deviation over the seeds.
    """

    value: float
    kind: str = "points"
    low: float | None = None
    high: float | None = None
    spread: float | None = None

    def text(self) -> str:
        """As it stands in a table or a sentence, with its interval or deviation where it has one."""
        write = WRITTEN[self.kind]
        if self.spread is not None:
            both = points_spread(self.value, self.spread)
            return f"{both} %" if self.kind == "percent" else both
        if self.low is None or self.high is None:
            return write(self.value)
        return f"{write(self.value)} ({self.interval()})"

    def interval(self) -> str:
        """`76.8 to 78.4 %`."""
        write = WRITTEN["points" if self.kind == "percent" else self.kind]
        unit = " %" if self.kind == "percent" else ""
        return f"{write(self.low)} to {write(self.high)}{unit}"


Cell = str | Value


@dataclass(frozen=True)
class Table:
    """Headings and rows; a cell is a number, or what a benchmark wrote."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        return [[cell.text() if isinstance(cell, Value) else cell for cell in row] for row in self.rows]

    def markdown(self) -> str:
        """Aligned, numbers to the right."""
        texts = self.texts()
        names = 1
        while names < len(self.columns) and not any(_is_number(row[names]) for row in texts):
            names += 1
        return markdown(self.columns, texts, names)

    def cell(self, row: Sequence[str], column: str) -> str:
        """What stands in the first row that begins with these cells.

        Raises:
            KeyError: there is no such row or column.
        """
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; there are {', '.join(self.columns)}")
        for texts in self.texts():
            if texts[: len(row)] == list(row):
                return texts[self.columns.index(column)]
        raise KeyError(f"no row begins with {', '.join(row)}")


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] in "+-±" and text[1:2].isdigit())


@dataclass(frozen=True)
class Figure:
    """One measurement: tables with what has to be said about them, or a few numbers.

    Attributes:
        command: what was typed, a line each.
        seeds: that were measured.
        data, weights: file -> sha256 of what it was measured on; `embedded` data have none.
        values: name -> number, for sentences.
        parts: tables and paragraphs, in order.
        measured: date, commit, processor, threads and versions.
        certify: how it is measured anew: see `benchmarks.certify`; None: not within an hour, or not by itself.
        source: of what was published by others: where it stands, and whether it was read there or remembered.
    """

    name: str
    command: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    parts: tuple[str | Table, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    certify: Mapping[str, Any] | None = None
    source: str = ""

    def table(self, number: int = 0) -> Table:
        """The first of its tables, or a later one."""
        return [part for part in self.parts if isinstance(part, Table)][number]

    def text(self) -> str:
        """All of its parts, as Markdown."""
        return "\n\n".join(part.markdown() if isinstance(part, Table) else part for part in self.parts)

    def when(self) -> str:
        """`2026-11-29, commit abc1234, 2 threads of AMD EPYC, torch 2.15.0, seeds 0, 1, 2`."""
        known = self.measured
        parts = [str(known.get("date", "")), f"commit {known['commit']}" if known.get("commit") else ""]
        if known.get("processor"):
            threads = known["threads"]
            parts.append(f"{threads} thread{'s' if threads > 1 else ''} of {known['processor']}")
        versions = known.get("versions", {})
        parts += [f"{name} {versions[name]}" for name in ("torch", *known.get("beside", ())) if name in versions]
        if self.seeds:
            parts.append(f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}")
        return ", ".join(part for part in parts if part)


def parts_of(section: str) -> tuple[str | Table, ...]:
    """Paragraphs and tables of a benchmark's Markdown."""
    parts: list[str | Table] = []
    for block in section.strip().split("\n\n"):
        lines = block.strip().split("\n")
        if len(lines) > 2 and all(line.startswith("|") for line in lines):
            columns, _, *rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
            parts.append(Table(columns, tuple(rows)))
        else:
            parts.append(block.strip())
    return tuple(parts)
