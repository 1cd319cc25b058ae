"""How much training changed each block, as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tlcl.tracking.finished_run import FinishedRun

FROZEN, TRAINED = "#999999", "#0072B2"


def cka_figures(run_dir: Path) -> dict[str, Figure]:
    """`cka`, when the run's summary has the similarities."""
    summary = FinishedRun(run_dir).summary
    return {"cka": cka_bars(summary["cka"], summary.get("trained_blocks", []))} if summary.get("cka") else {}


def cka_bars(cka: dict[str, Any], trained: list[str]) -> Figure:
    """A bar a block from the first to the last, grey where it was frozen.

    Args:
        cka: `images`, their number, and `blocks`, name -> similarity or None.
        trained: the blocks that were trained.
    """
    blocks: dict[str, float | None] = cka["blocks"]
    figure = Figure(figsize=(7, 0.4 * len(blocks) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, (name, value) in enumerate(blocks.items()):
        axes.barh(place, max(0.0, value or 0.0), color=TRAINED if name in trained else FROZEN, height=0.7)
        text = "–" if value is None else f"{value:.3f}" if name in trained else f"{value:.3f}, frozen"
        axes.text(max(0.0, value or 0.0) + 0.01, place, text, va="center", fontsize=9)
    axes.set_yticks(range(len(blocks)), list(blocks))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel(f"linear CKA before and after, {cka['images']} test images")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
