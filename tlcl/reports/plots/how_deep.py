"""Pictures of how deep to retrain: the gain of each setting, and accuracy by the number of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tlcl.reports.plots.style import BLUE, INK, ORANGE, percent_ticks


def gains_figure(race: Mapping[str, Any]) -> Figure:
    """Points over the head alone with intervals: depths first, then the surgical sets."""
    rows = [row for row in race["settings"] if row["gain"] is not None]
    depths = [row for row in rows if row["depth"] is not None]
    others = [row for row in rows if row["depth"] is None]
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=1, linestyle="--")
    places = [*range(1, 1 + len(depths)), *(len(depths) + 1.5 + number for number in range(len(others)))]
    for place, row in zip(places, [*depths, *others], strict=True):
        # Races of before have no such record.
        told = row.get("better", row["p"] < 0.05 and row["low"] > 0)
        early = row["asked"] < race["images"]
        colour = ORANGE if row["setting"] == race["chosen"] else BLUE
        axes.errorbar(
            place, 100 * row["gain"],
            yerr=[[100 * (row["gain"] - row["low"])], [100 * (row["high"] - row["gain"])]],
            fmt="o", color=colour, markersize=5 if early else 9, markerfacecolor=colour if told else "white",
            elinewidth=1 if early else 2, capsize=3,
        )  # fmt: skip
    names = [f"{row['depth']}\n{row['words']}" for row in depths] + [_broken(row["words"]) for row in others]
    axes.plot([0], [0], marker="s", color=INK, markersize=7)
    axes.set_xticks([0, *places], ["0\nhead", *names], fontsize=8)
    axes.set_xlim(-0.6, max(places, default=1) + 0.6)
    axes.set_xlabel("backbone blocks retrained, from the end on; sets of blocks")
    axes.set_ylabel("points more than the head alone")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _broken(words: str) -> str:
    return words.replace(", ", ",\n").replace(" everywhere", "\neverywhere")


def learning_curve(points: Sequence[Mapping[str, Any]], deeper: str) -> Figure:
    """Accuracy against the number of labels: the head alone, and the setting that is recommended or nearest."""
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    axes = figure.subplots()
    lines = [("head", "the head alone", INK, "s"), ("deeper", deeper, BLUE, "o")]
    for key, name, colour, marker in lines:
        known = [point for point in points if point.get(key) is not None]
        if not known:
            continue
        places = [point["labels"] for point in known]
        heights = [point[key] for point in known]
        axes.plot(places, heights, marker=marker, color=colour, linewidth=2, label=name)
        alike = [(place, height) for place, height, point in zip(places, heights, known, strict=True)
                 if key == "deeper" and not point.get("told", True)]  # fmt: skip
        if alike:  # what the head alone may do as well is hollow
            axes.plot(*zip(*alike, strict=True), marker=marker, color=colour, linestyle="", markerfacecolor="white")
        low, high = zip(*(point[f"{key}_interval"] for point in known), strict=True)
        axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    labels = [point["labels"] for point in points]
    axes.set_xticks(labels, [f"{label:,}" for label in labels])
    axes.xaxis.minorticks_off()
    percent_ticks(axes.yaxis)
    axes.set_xlabel("labelled images trained on")
    axes.set_ylabel("held-out accuracy")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
