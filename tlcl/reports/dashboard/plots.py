"""The dashboard's panels as pictures, from runs' records."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from tlcl.reports.dashboard.views import Bars, Lines, Parallel, Scatter, Value
from tlcl.reports.plots.style import INK, SERIES, percent_ticks, short
from tlcl.system.figures import count, percent, three_digits
from tlcl.tracking.finished_run import FinishedRun

SIZE = (4.4, 2.9)
MOST_BARS = 20
LETTERS = 34  # of a run's label
STYLES = ("-", "--", ":")
Colours = Mapping[Path, Any]


def value_of(run: FinishedRun, value: Value) -> Any:
    """None where the run has no such value."""
    return (run.flat_config if value.where == "config" else run.flat_summary).get(value.key)


def number_of(run: FinishedRun, value: Value) -> float | None:
    """As `value_of`, None also where it is no finite number."""
    found = value_of(run, value)
    plain = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if plain else None


def colours_of(runs: Sequence[FinishedRun]) -> dict[Path, Any]:
    """Each run's colour: up to as many as `SERIES` has far apart, beyond that alike for neighbours in a group."""
    if len(runs) <= len(SERIES):
        return {run.path: SERIES[number] for number, run in enumerate(runs)}
    ordered = sorted(runs, key=lambda run: run.group)
    return {run.path: colormaps["viridis"](0.92 * place / (len(runs) - 1)) for place, run in enumerate(ordered)}


def is_share(name: str) -> bool:
    """Whether a figure of this name is a share, 0 to 1."""
    return any(word in name for word in ("accuracy", "_acc", "/acc", "forgetting"))


def _axis(axis: Any, label: str, share: bool, log: bool) -> None:
    if log:
        axis.axes.set_xscale("log") if axis is axis.axes.xaxis else axis.axes.set_yscale("log")
    elif share:
        percent_ticks(axis)
    axis.set_label_text(label)


def _plain(figure: Figure, title: str) -> Axes:
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def lines_figure(panel: Lines, runs: Sequence[FinishedRun], colours: Colours) -> Figure | None:
    """A line a run, solid for the first key, dashed for the next; None when no run has any of them."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = _plain(figure, panel.title)
    places: set[float] = set()
    for run in runs:
        for key, style in zip(panel.keys, STYLES, strict=False):
            curve = run.curve(panel.x, key)
            if curve:
                x, y = zip(*sorted(curve), strict=True)
                places.update(x)
                marker = "o" if panel.x == "task" or len(x) < 3 else None
                drawn = {"color": colours[run.path], "linewidth": 1.6, "alpha": 0.9, "markersize": 4}
                steps = "steps-mid" if key == "trainable_blocks" else "default"
                axes.plot(x, y, style, marker=marker, drawstyle=steps, **drawn)
    if not places:
        return None
    if len(panel.keys) > 1:
        for key, style in zip(panel.keys, STYLES, strict=False):
            axes.plot([], [], style, color=INK, label=key)
        axes.legend(frameon=False, fontsize=9)
    if len(places) <= 3:  # where MaxNLocator would fall back to fractions
        axes.xaxis.set_major_locator(FixedLocator(sorted(places)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("task" if panel.x == "task" else "epoch")
    if panel.keys[0] == "trainable_blocks":
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, round(high) - 1.5), max(high, round(low) + 1.5))  # a level line has whole ticks too
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _axis(axes.yaxis, "", is_share(panel.keys[0]), log=panel.keys[0].startswith("lr/"))
    return figure


def bars_figure(
    panel: Bars, runs: Sequence[FinishedRun], labels: Mapping[Path, str], colours: Colours
) -> Figure | None:
    """Highest first, at most `MOST_BARS`; None when no run has the value."""
    value = Value("summary", panel.key, "")
    measured = [(number, run) for run in runs if (number := number_of(run, value)) is not None]
    measured.sort(key=lambda pair: -pair[0])
    if not measured:
        return None
    shown = measured[:MOST_BARS]
    figure = Figure(figsize=(SIZE[0], max(SIZE[1], 0.9 + 0.24 * len(shown))), layout="constrained")
    left_out = f" (the first {MOST_BARS} of {len(measured)})" if len(measured) > MOST_BARS else ""
    axes = _plain(figure, panel.title + left_out)
    share = is_share(panel.key)
    numbers = [number for number, _ in shown]
    bars = axes.barh(range(len(shown)), numbers, color=[colours[run.path] for _, run in shown], height=0.7)
    axes.bar_label(
        bars, [percent(number) if share else three_digits(number) for number in numbers], fontsize=8, padding=3
    )
    names = [short(labels[run.path], LETTERS) for _, run in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8, parse_math=False)
    axes.set_ylim(max(len(shown), 5) - 0.4, -0.6)  # a few bars stay thin
    axes.margins(x=0.16)
    axes.grid(False, axis="y")
    _axis(axes.xaxis, "", share, log=False)
    return figure


def scatter_figure(panel: Scatter, runs: Sequence[FinishedRun], colours: Colours) -> Figure | None:
    """A point a run; None when no run has both values."""
    pairs = [(run, number_of(run, panel.x), number_of(run, panel.y)) for run in runs]
    points = [(run, x, y) for run, x, y in pairs if x is not None and y is not None]
    if not points:
        return None
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = _plain(figure, panel.title)
    across, up = np.array([x for _, x, _ in points]), np.array([y for _, _, y in points])
    axes.scatter(across, up, c=[colours[run.path] for run, _, _ in points], s=42, alpha=0.85, linewidths=0)
    log, distinct = panel.x.log and across.min() > 0 and across.max() > 3 * across.min(), np.unique(across)
    _axis(axes.xaxis, panel.x.label, is_share(panel.x.key), log=log)
    if log and len(distinct) <= 5 and (distinct[1:] > 1.5 * distinct[:-1]).all():
        axes.set_xticks(distinct, [count(number) for number in distinct])
        axes.xaxis.set_minor_locator(NullLocator())
    if len(distinct) == 1 and not is_share(panel.x.key):
        axes.set_xticks(distinct, [three_digits(across[0]) if across[0] % 1 else count(across[0])])
    _axis(axes.yaxis, panel.y.label, is_share(panel.y.key), log=False)
    if (across == across.round()).all() and np.ptp(across) < 10:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def parallel_figure(panel: Parallel, runs: Sequence[FinishedRun]) -> Figure | None:
    """Every run that has all values as a line from axis to axis; None when no run has."""
    rows = [
        [float(number) for number in numbers if number is not None]
        for run in runs
        if None not in (numbers := [number_of(run, column) for column in panel.columns])
    ]
    if not rows:
        return None
    table = np.array(rows)
    figure = Figure(figsize=(3 * SIZE[0], 4.2), layout="constrained")
    axes = figure.subplots()
    left_out = len(runs) - len(rows)
    title = panel.title + (f"; {left_out} without one of these values are not drawn" if left_out else "")
    axes.set_title(title, fontsize=11, loc="left", pad=28)
    scaled = np.empty_like(table)
    for place, column in enumerate(panel.columns):
        scaled[:, place] = _parallel_axis(axes, place, column, table[:, place], place == len(panel.columns) - 1)
    # A little apart, so that equal lines can be counted.
    apart = 0.012 * (np.argsort(np.argsort(table[:, -1])) / max(1, len(rows) - 1) - 0.5)
    for line, shift, height in zip(scaled, apart, scaled[:, -1], strict=True):
        shifted = np.append(line[:-1] + shift, line[-1])
        axes.plot(range(len(line)), shifted, color=colormaps["viridis"](0.95 * height), linewidth=1.7, alpha=0.85)
    axes.set_xlim(-0.25, len(panel.columns) - 0.75)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def _parallel_axis(axes: Axes, place: int, column: Value, numbers: np.ndarray, last: bool) -> np.ndarray:
    """Draw one vertical axis; returns the numbers' heights, 0 to 1."""
    share, distinct = is_share(column.key), np.unique(numbers)
    log = column.log and distinct[0] > 0
    ticks = distinct if len(distinct) <= 8 and not last else np.linspace(distinct[0], distinct[-1], 5)
    if log and len(distinct) > 8:
        ticks = np.geomspace(distinct[0], distinct[-1], 5)

    def height(values: np.ndarray) -> np.ndarray:
        low, high, at = (np.log(part) if log else part for part in (distinct[0], distinct[-1], values))
        return np.full(len(values), 0.5) if high == low else (at - low) / (high - low)

    axes.plot([place, place], [0, 1], color=INK, linewidth=1)
    side, offset = ("left", 7) if last else ("right", -7)
    for tick, level in zip(np.unique(ticks), height(np.unique(ticks)), strict=True):
        text = percent(tick) if share else count(tick) if tick == round(tick) else three_digits(tick)
        axes.annotate(
            text, (place, level), (offset, 0), textcoords="offset points", ha=side, va="center", fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )  # fmt: skip
    axes.annotate(
        column.label, (place, 1), (0, 12), textcoords="offset points", ha="center", fontsize=9, fontweight="bold"
    )
    return height(numbers)
