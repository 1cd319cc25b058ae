"""Pictures of what a run found in its images: labels that look wrong, and images that are alike."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from tlcl.reports.plots.style import short
from tlcl.tracking.findings import LABEL_ISSUES, NEAR_DUPLICATES, Findings, read_findings

COLUMNS = 5


def label_issue_grid(found: Findings) -> Figure:
    """The labels that look most wrong, with file, label and suggestion."""
    count = len(found.pictures)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.5, 2.2 * columns), 2.7 * rows + 0.3), layout="constrained")
    more = f", the {count} least probable ones" if len(found.rows) > count else ""
    labels = "label looks" if len(found.rows) == 1 else "labels look"
    figure.suptitle(f"{len(found.rows):,} {labels} wrong{more}: label → suggestion", fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, (picture,), row in zip(figure.axes, found.pictures, found.rows, strict=False):
        _show(axes, picture)
        names = f"{short(row['label'], 18)}\n→ {short(row['suggested_label'], 18)}"
        axes.set_title(f"{short(row['file'], 26)}\n{names}", fontsize=8, parse_math=False)
    return figure


def near_duplicate_grid(found: Findings) -> Figure:
    """The first pairs, side by side, with files and parts of the split."""
    count = len(found.pictures)
    figure = Figure(figsize=(9, 2.5 * -(-count // 2) + 0.4), layout="constrained")
    pairs = "pair of images is" if len(found.rows) == 1 else "pairs of images are"
    more = f", the first {count}" if len(found.rows) > count else ""
    figure.suptitle(f"{len(found.rows):,} {pairs} alike{more}", fontsize=11)
    for axes in figure.subplots(-(-count // 2), 4, squeeze=False).flat:
        axes.axis("off")
    for place, (pictures, row) in enumerate(zip(found.pictures, found.rows, strict=False)):
        for side, mark in enumerate(("", "other_")):
            axes = figure.axes[2 * place + side]
            _show(axes, pictures[side])
            title = f"{short(row[f'{mark}file'], 24)}\n{row[f'{mark}split']}: {short(row[f'{mark}label'], 18)}"
            axes.set_title(title, fontsize=8, parse_math=False)
    return figure


def _show(axes: Axes, picture: ndarray) -> None:
    """uint8 (C, H, W)."""
    pixels = picture.transpose(1, 2, 0)
    axes.imshow(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255)


def finding_figures(run_dir: Path) -> dict[str, Figure]:
    """What there is to see; empty where nothing was found."""
    kinds = {LABEL_ISSUES: label_issue_grid, NEAR_DUPLICATES: near_duplicate_grid}
    read = {name: read_findings(run_dir, name) for name in kinds}
    return {name: kinds[name](found) for name, found in read.items() if found is not None}
