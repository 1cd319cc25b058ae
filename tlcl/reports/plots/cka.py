"""How much training changed each block, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tlcl.reports.plots.style import BLUE, DIM
from tlcl.reports.tested_blocks import of_tested_weights
from tlcl.system.figures import counted, three_digits
from tlcl.tracking.finished_run import FinishedRun


def comparable_blocks(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Of the summary's similarities by block, in the network's order, those that say something.

    Up to the first trained block a network is the same function before and after: its similarity there is 1 by
    definition. A frozen block behind a trained one counts, as what it is given has changed.
    """
    blocks: dict[str, float | None] = (summary.get("cka") or {}).get("blocks", {})
    trained = set(summary.get("trained_blocks", blocks))
    names = list(blocks)
    first = next((place for place, name in enumerate(names) if name in trained), len(names))
    return {name: blocks[name] for name in names[first:]}


def left_out(summary: Mapping[str, Any]) -> int:
    """How many blocks `comparable_blocks` leaves out."""
    return len((summary.get("cka") or {}).get("blocks", {})) - len(comparable_blocks(summary))


def cka_figures(run_dir: Path) -> dict[str, Figure]:
    """`cka`, when the run's summary has similarities that say something."""
    run = FinishedRun(run_dir)
    summary = of_tested_weights(run.summary, run.metrics)
    blocks = comparable_blocks(summary)
    if not blocks:
        return {}
    return {"cka": cka_bars(blocks, summary.get("trained_blocks", []), summary["cka"]["images"])}


def cka_bars(blocks: Mapping[str, float | None], trained: Sequence[str], images: int) -> Figure:
    """A bar a block from the first to the last, grey where it was frozen.

    Args:
        blocks: name -> similarity, at most 1 and rarely a little below 0, or None.
        trained: the blocks that were trained.
        images: how many the similarities are of.
    """
    figure = Figure(figsize=(7, 0.4 * len(blocks) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, (name, value) in enumerate(blocks.items()):
        axes.barh(place, max(0.0, value or 0.0), color=BLUE if name in trained else DIM, height=0.7)
        text = three_digits(value) if name in trained else f"{three_digits(value)}, frozen"
        axes.text(max(0.0, value or 0.0) + 0.01, place, text, va="center", fontsize=9)
    axes.set_yticks(range(len(blocks)), list(blocks))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel(f"linear CKA before and after, {counted(images, 'test image')}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
