"""Whether answers are right as often as they are sure: accuracy against confidence on the test images."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlcl.errors import UserError
from tlcl.reports.plots.style import BLUE, GREY, ORANGE, percent_ticks
from tlcl.statistics.calibration import Reliability, reliability
from tlcl.tracking.calibration import CALIBRATION, Calibration, read_calibration
from tlcl.tracking.finished_run import FinishedRun

BEFORE, AFTER = "before", "after"
COLOURS, MARKERS = {BEFORE: ORANGE, AFTER: BLUE}, {BEFORE: "o", AFTER: "s"}


def tested_reliability(run_dir: Path) -> tuple[Calibration, dict[str, Reliability]] | None:
    """Of the test images before and, where there is a temperature, after it; None without records of both kinds."""
    tested = FinishedRun(run_dir).predictions
    if tested is None or not (run_dir / CALIBRATION).is_file():
        return None
    try:
        calibration = read_calibration(run_dir)
    except UserError:  # the page says so
        return None
    found = {BEFORE: reliability(tested.probabilities, tested.labels)}
    if calibration.temperature is not None:
        found[AFTER] = reliability(calibration.calibrated(tested.probabilities), tested.labels)
    return calibration, found


def reliability_caption(run_dir: Path) -> str:
    """What the picture shows, with its figures; empty without one."""
    known = tested_reliability(run_dir)
    if known is None:
        return ""
    calibration, found = known
    words = (
        "How often the answers to the test images are right, by how sure they are; on the dashed line both are "
        f"equal. Expected calibration error (15 bins): {100 * found[BEFORE].ece:.1f} %"
    )
    if AFTER not in found:
        return f"{words}. No temperature is fitted: {calibration.reason}."
    return (
        f"{words} as tested, {100 * found[AFTER].ece:.1f} % with the temperature {calibration.temperature:.2f}, "
        f"which is fitted on {calibration.images:,} {calibration.held_out}, and applied to new images."
    )


def reliability_diagram(found: Mapping[str, Reliability]) -> Figure:
    """Accuracy of each bin at its mean confidence, a curve each; below, how many images each bin has."""
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), color="#555555", linestyle="--", linewidth=1)
    for place, (when, one) in enumerate(found.items()):
        some = one.counts > 0
        label = f"{when} the temperature: error {100 * one.ece:.1f} %" if len(found) > 1 else None
        upper.plot(
            one.confidence[some], one.accuracy[some], color=COLOURS[when], marker=MARKERS[when], linewidth=2,
            label=label,
        )  # fmt: skip
        width = np.diff(one.edges) * 0.9 / len(found)
        left = one.edges[:-1] + 0.003 + place * width
        bars = lower.bar(left, one.counts, width, align="edge", color=COLOURS[when])
        # Zeros would stand in each other's way, and say what an empty place does.
        counts = [str(count) if count else "" for count in one.counts]
        lower.bar_label(bars, counts, fontsize=7, rotation=90, padding=2)
    # Bins in which no answer can be are left out: the largest of K probabilities is at least 1 / K.
    least = min(float(one.edges[:-1][one.counts > 0].min()) for one in found.values())
    lower.set_xlim(max(0.0, least - 0.02), 1.01)
    upper.set_ylim(-0.03, 1.03)
    lower.margins(y=0.25)
    upper.set_ylabel("accuracy")
    lower.set_ylabel("test images")
    lower.set_xlabel("confidence")
    percent_ticks(upper.yaxis)
    percent_ticks(lower.xaxis)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    upper.grid(color=GREY, linewidth=0.6)
    if len(found) > 1:
        upper.legend(frameon=False, loc="best")
    return figure


def reliability_figures(run_dir: Path) -> dict[str, Figure]:
    """The picture of a run that was calibrated; empty for another."""
    known = tested_reliability(run_dir)
    return {} if known is None else {"reliability": reliability_diagram(known[1])}
