"""Where the time of each epoch went, as a picture and as one line of totals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tlcl.reports.plots.style import AMBER, BLUE, GREEN, GREY, PURPLE, SKY
from tlcl.system.figures import duration
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.timings import seconds_by_part

COLOURS = {
    "data": AMBER,
    "prefix": SKY,
    "tail": BLUE,
    "validation": GREEN,
    "checkpoint": PURPLE,
    "between": GREY,
}
MEANINGS = {
    "data": "batches gathered and augmented",
    "prefix": "frozen blocks",
    "tail": "training steps of the rest",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "between": "between them",
}


def time_figures(run_dir: Path) -> dict[str, Figure]:
    """`time`, when the run has timings."""
    timings = FinishedRun(run_dir).timings
    return {"time": time_bars(timings)} if timings else {}


def time_bars(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """A stacked bar an epoch; a continual run's epochs go on from task to task."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    places, bottom = np.arange(len(lines)), np.zeros(len(lines))
    for part, total in seconds_by_part(lines).items():
        heights = np.array([seconds_by_part([line])[part] for line in lines])
        label = f"{MEANINGS[part]}, {duration(total)}"
        axes.bar(places, heights, bottom=bottom, width=0.9, color=COLOURS[part], label=label)
        bottom = bottom + heights
    axes.set_xlabel("epoch" if "task" not in lines[0] else "epoch, all tasks")
    axes.set_ylabel("seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
