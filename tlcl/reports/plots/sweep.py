"""Pictures of a table of settings: heat map of two keys, lines along one, bars, or parallel coordinates."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from tlcl.reports.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    marker_of,
    percent_formatter,
    percent_ticks,
)
from tlcl.reports.tables.spread import mean_std
from tlcl.reports.tables.sweep import Row, best_of_each, chosen, is_number, numeric, values_of
from tlcl.reports.tested_blocks import thawed_blocks
from tlcl.system.figures import percent, points
from tlcl.tracking.sweep_records import Value, described, shortened

DEPTH = "thaw.depth"
NAMES = {DEPTH: "backbone blocks retrained, from the end on", "data.train_size": "labelled images"}
LOG_RATIO = 20  # positive numbers that lie further apart than this are drawn on a logarithmic scale
MOST_BARS = 40
TEST = "test accuracy"


def axis_name(key: str) -> str:
    """What an axis of this key says."""
    return NAMES.get(key, key)


def value_name(key: str, value: Value, rows: Sequence[Row]) -> str:
    """What a tick says: the value, and of a depth what it means."""
    if key == DEPTH and value == 0:
        return "0\n(head only)"
    if key == DEPTH and _everything(value, rows):
        return f"{value}\n(everything)"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return shortened(value)


def _everything(depth: Value, rows: Sequence[Row]) -> bool:
    """Whether the finished runs of this depth thawed every block of their networks."""
    summaries = [job.summary for row in rows if row.settings[DEPTH] == depth for job in row.jobs]
    thawed = [thawed_blocks(summary) == summary["blocks"] for summary in summaries if summary.get("blocks")]
    return bool(thawed) and all(thawed)


def logarithmic(values: Sequence[Value]) -> bool:
    """Whether these numbers are easier to tell apart on a logarithmic scale."""
    numbers = [float(value) for value in values if is_number(value)]  # type: ignore[arg-type]
    return len(numbers) > 1 and min(numbers) > 0 and max(numbers) >= LOG_RATIO * min(numbers)


def heat_map(rows: Sequence[Row], across: str, down: str, label: str = TEST) -> Figure:
    """Mean ± standard deviation of the test figure of each pair; framed: what validation chooses in each row."""
    columns, lines = values_of(rows, across), values_of(rows, down)
    known = [row for row in rows if row.test]
    means = np.full((len(lines), len(columns)), np.nan)
    figure = Figure(figsize=(2.4 + 1.15 * len(columns), 1.5 + 0.62 * len(lines)), layout="constrained")
    axes = figure.subplots()

    def place(row: Row) -> tuple[int, int]:
        return lines.index(row.settings[down]), columns.index(row.settings[across])

    for row in known:
        means[place(row)] = mean_std(row.test)[0]
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    low, high = math.floor(10 * low) / 10, math.ceil(10 * high) / 10
    axes.set_facecolor(GREY)
    image = axes.imshow(means, cmap="viridis", vmin=low, vmax=max(high, low + 0.1), aspect="auto")
    for row in known:
        mean, spread = mean_std(row.test)
        text = points(mean) + ("" if spread is None else f"\n± {points(spread)}")
        dark = (float(means[place(row)]) - low) / max(high - low, 0.1) < 0.6  # of the colour scale
        y, x = place(row)
        axes.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
    for row in best_of_each(rows, [key for key in rows[0].settings if key != across]):
        if row.test:
            y, x = place(row)
            frame = Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, fill=False, edgecolor=ORANGE, linewidth=2.5)
            axes.add_patch(frame)
    axes.set_xticks(range(len(columns)), [value_name(across, value, rows) for value in columns])
    axes.set_yticks(range(len(lines)), [value_name(down, value, rows) for value in lines])
    axes.set_xlabel(axis_name(across))
    axes.set_ylabel(axis_name(down))
    figure.colorbar(image, ax=axes, format=percent_formatter(), label=label)
    return figure


def lines(rows: Sequence[Row], along: str, label: str = TEST) -> Figure:
    """Mean test figure along a numeric key, a line for each setting of the others; band: one standard deviation."""
    others = [key for key in rows[0].settings if key != along]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.test:
            groups.setdefault(described(row.settings, others), []).append(row)
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, group) in enumerate(groups.items()):
        places = [float(row.settings[along]) for row in group]  # type: ignore[arg-type]
        means = np.array([mean_std(row.test)[0] for row in group], dtype=float)
        spreads = np.array([mean_std(row.test)[1] or 0.0 for row in group])
        colour = colormaps["viridis"](0.9 * number / max(1, len(groups) - 1))
        axes.plot(places, means, marker=marker_of(number), color=colour, linewidth=2, label=name or None)
        axes.fill_between(places, means - spreads, means + spreads, color=colour, alpha=0.18, linewidth=0)
    values = values_of(rows, along)
    if logarithmic(values):
        axes.set_xscale("log")
    if len(values) <= 8:
        axes.set_xticks([float(value) for value in values], [value_name(along, value, rows) for value in values])  # type: ignore[arg-type]
        axes.xaxis.minorticks_off()
    percent_ticks(axes.yaxis)
    axes.set_xlabel(axis_name(along))
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    if others:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def bars(rows: Sequence[Row], label: str = TEST) -> Figure:
    """Mean test figure of each setting; the one that validation chooses in another colour."""
    known = [row for row in rows if row.test][:MOST_BARS]
    best = [id(row) for row in chosen(rows)]
    figure = Figure(figsize=(9, 1.1 + 0.36 * len(known)), layout="constrained")
    axes = figure.subplots()
    means = np.array([mean_std(row.test)[0] for row in known], dtype=float)
    spreads = np.array([mean_std(row.test)[1] or 0.0 for row in known])
    colours = [ORANGE if id(row) in best else BLUE for row in known]
    axes.barh(range(len(known)), means, xerr=spreads, color=colours, ecolor=INK, height=0.7)
    for place, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
        axes.text(float(mean + spread) + 0.01, place, percent(mean), va="center", fontsize=9)
    names = [described(row.settings, list(row.settings)) for row in known]
    axes.set_yticks(range(len(known)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.1, float((means + spreads).max()) + 0.1))
    percent_ticks(axes.xaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(label)
    return figure


def _heights(rows: Sequence[Row], key: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Where each row crosses a key's axis, 0 to 1, and that axis's ticks."""
    values = values_of(rows, key)
    if not numeric(rows, key):
        step = 1 / max(1, len(values) - 1)
        places = np.array([values.index(row.settings[key]) * step for row in rows])
        return places, [(number * step, shortened(value)) for number, value in enumerate(values)]
    numbers = np.array([float(row.settings[key]) for row in rows])  # type: ignore[arg-type]
    ends = float(numbers.min()), float(numbers.max())
    scaled = np.log(numbers) if logarithmic(values) else numbers
    span = float(np.ptp(scaled)) or 1.0
    return (scaled - scaled.min()) / span, [(0.0, shortened(ends[0])), (1.0, shortened(ends[1]))]


def parallel_coordinates(rows: Sequence[Row], keys: Sequence[str], label: str) -> Figure:
    """A line a setting across an axis a key, coloured by the validation figure; the chosen one on top, thick.

    Args:
        label: what the validation figure is.
    """
    known = [row for row in rows if row.validation]
    figure = Figure(figsize=(2.5 + 1.9 * len(keys), 4.4), layout="constrained")
    axes = figure.subplots()
    crossings = [_heights(known, key) for key in keys]
    scores = np.array([mean_std(row.validation)[0] for row in known], dtype=float)
    norm = Normalize(float(scores.min()), float(scores.max()) if np.ptp(scores) > 0 else float(scores.min()) + 0.01)
    best = [id(row) for row in chosen(known)]
    for number in np.argsort(scores):
        heights = [places[number] for places, _ in crossings]
        on_top = id(known[number]) in best
        colour = colormaps["viridis"](norm(scores[number]))
        axes.plot(range(len(keys)), heights, color=ORANGE if on_top else colour, linewidth=3 if on_top else 1.4)
    for place, (_, ticks) in enumerate(crossings):
        axes.axvline(place, color=INK, linewidth=1)
        for height, name in ticks:
            axes.annotate(name, (place, height), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xticks(range(len(keys)), keys)
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(keys) - 0.55)
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, label=label)
    return figure


def search_history(rows: Sequence[Row], label: str) -> Figure:
    """The validation figure of each job in the order in which a search ran them, and the best so far."""
    found = {job.number: mean_std(row.validation)[0] for row in rows for job in row.jobs if row.validation}
    numbers = sorted(found)
    values = np.array([found[number] for number in numbers], dtype=float)
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    axes: Axes = figure.subplots()
    places = [number + 1 for number in numbers]
    axes.scatter(places, values, color=BLUE, label="a job", zorder=2)
    axes.step(places, np.maximum.accumulate(values), where="post", color=GREEN, linewidth=2, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("job")
    axes.set_ylabel(label, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
