"""The dashboard as one self-contained HTML page, from the records of the runs below a folder."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from tlcl.reports.dashboard.plots import (
    Colours,
    bars_figure,
    colours_of,
    is_share,
    lines_figure,
    number_of,
    parallel_figure,
    scatter_figure,
    value_of,
)
from tlcl.reports.dashboard.views import (
    SECONDS,
    VIEWS,
    Bars,
    Confusion,
    Lines,
    Matrix,
    Panel,
    Parallel,
    Pictures,
    Scatter,
    Value,
    View,
)
from tlcl.reports.page import render_page
from tlcl.reports.plots.style import write_png
from tlcl.system.figures import count, duration, percent, points, three_digits
from tlcl.tracking.accuracy_matrix import task_names
from tlcl.tracking.finished_run import FinishedRun, read_run

NEWEST = 3  # runs whose pictures and matrices are shown
WIDEST = 640  # pixels of a run's own picture
# What tells runs of one name apart, first to last.
TELLING = (
    "method.name", "adaptation.name", "thaw.depth", "data.train_size", "model.name", "model.weights", "optim.lr",
    "seed",
)  # fmt: skip


def find_runs(root: Path) -> list[FinishedRun]:
    """Every run recorded below `root`, oldest first."""
    records = [path for path in root.rglob("environment.json") if "wandb" not in path.parts]
    records.sort(key=lambda path: (path.stat().st_mtime, str(path)))
    return [run for path in records if (run := read_run(path.parent)) is not None]


def labels_of(runs: Sequence[FinishedRun], root: Path) -> dict[Path, str]:
    """A short label a run: what tells it from others of its name, that name, its folder, as far as is needed."""
    told: dict[Path, str] = {}
    for name in dict.fromkeys(run.name for run in runs):
        same = [run for run in runs if run.name == name]
        telling = [key for key in TELLING if len({str(run.flat_config.get(key)) for run in same}) > 1]
        for run in same:
            parts = [
                str(value) if key.endswith(".name") else f"{key.split('.')[-1]} {value}"
                for key in telling
                if (value := run.flat_config.get(key)) is not None
            ]
            told[run.path] = ", ".join(parts) or name
    named = {run.path: f"{run.name}, {told[run.path]}" for run in runs}
    labels = {}
    for run in runs:
        in_full = f"{run.name}, {os.path.relpath(run.path, root)}"
        tried = ((told, told[run.path]), (named, named[run.path]))
        labels[run.path] = next((text for all_, text in tried if [*all_.values()].count(text) == 1), in_full)
    return labels


def _png(figure: Figure) -> str:
    content = BytesIO()
    write_png(figure, content, 115)
    return base64.b64encode(content.getvalue()).decode()


def _own_picture(path: Path) -> str | None:
    """A run's own plot in at most `WIDEST` pixels; None when it is missing or damaged."""
    try:
        with Image.open(path) as image:
            image.thumbnail((WIDEST, 2 * WIDEST))
            content = BytesIO()
            image.save(content, format="png", optimize=True)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return base64.b64encode(content.getvalue()).decode()


def _pictures(
    panel: Pictures | Confusion, runs: Sequence[FinishedRun], labels: Mapping[Path, str]
) -> Iterator[dict]:
    plot = panel.plot if isinstance(panel, Pictures) else "confusion"
    stored = [(run, run.path / "plots" / f"{plot}.png") for run in reversed(runs)]
    for run, path in [pair for pair in stored if pair[1].is_file()][:NEWEST]:
        data = _own_picture(path)
        if data is not None:
            yield {"data": data, "caption": f"{panel.title}: {labels[run.path]}"}


def _matrices(panel: Matrix, runs: Sequence[FinishedRun], labels: Mapping[Path, str]) -> Iterator[dict]:
    measured = [(run, matrix) for run in reversed(runs) if (matrix := run.matrix) is not None]
    for run, found in measured[:NEWEST]:
        names = task_names(found.tasks)
        rows = [
            (name, [points(float(value)) for value in row])
            for name, row in zip(names, found.matrix, strict=False)
        ]
        yield {"title": f"{panel.title}, in %: {labels[run.path]}", "names": names, "rows": rows}


def _drawn(
    panel: Panel, runs: Sequence[FinishedRun], labels: Mapping[Path, str], colours: Colours
) -> Iterator[dict[str, Any]]:
    """What a panel puts on the page; nothing when no run has what it shows."""
    figure: Figure | None = None
    match panel:
        case Lines():
            figure = lines_figure(panel, runs, colours)
        case Bars():
            figure = bars_figure(panel, runs, labels, colours)
        case Scatter():
            figure = scatter_figure(panel, runs, colours)
        case Parallel():
            figure = parallel_figure(panel, runs)
        case Pictures() | Confusion():
            yield from _pictures(panel, runs, labels)
        case Matrix():
            yield from _matrices(panel, runs, labels)
    if figure is not None:
        yield {"data": _png(figure), "caption": "", "alternative": panel.title, "wide": isinstance(panel, Parallel)}


def _cell(run: FinishedRun, value: Value) -> str:
    number = number_of(run, value)
    if number is None:
        found = value_of(run, value)
        return "–" if found is None else str(found)
    if is_share(value.key):
        return percent(number)
    if value == SECONDS:
        return duration(number)
    return count(number) if number == round(number) else three_digits(number)


def data_of(runs: Sequence[FinishedRun]) -> dict[Path, str]:
    """What each run's figures are of: its data source, of a user's images the folder too; of an adaptation both.

    The folder's name alone, or its whole path where runs of other folders share the name; empty where the config
    does not say.
    """
    named = {run.path: _images_of(run, lambda folder: folder.name) for run in runs}
    whole = {run.path: _images_of(run, str) for run in runs}
    alike: dict[str, set[str]] = {}
    for path, name in named.items():
        alike.setdefault(name, set()).add(whole[path])
    return {path: name if len(alike[name]) == 1 else whole[path] for path, name in named.items()}


def _images_of(run: FinishedRun, written: Callable[[Path], str]) -> str:
    sides = []
    for part in ("source", "data"):
        source, folder = (run.flat_config.get(f"{part}.{key}") for key in ("source", "train"))
        if source:
            sides.append(f"{source} {written(Path(folder))}" if isinstance(folder, str) else str(source))
    return " → ".join(sides)


def _sections(view: View, every: Sequence[FinishedRun], root: Path, out: Path) -> Iterator[dict[str, Any]]:
    """What the page says of one view, data set by data set: figures of different ones are no comparison."""
    runs = [run for run in every if run.job == view.job]
    data = data_of(runs)
    if view.by_sweep:
        groups = [(run.group, data[run.path]) for run in runs]
        runs = [run for run, group in zip(runs, groups, strict=True) if groups.count(group) > 1]  # one is no sweep
    for name in dict.fromkeys(data[run.path] for run in runs):
        yield _section(view, name, [run for run in runs if data[run.path] == name], root, out)


def _section(view: View, data: str, runs: Sequence[FinishedRun], root: Path, out: Path) -> dict[str, Any]:
    labels, colours = labels_of(runs, root), colours_of(runs)
    # One run alone is compared with nothing.
    panels = [panel for panel in view.panels if len(runs) > 1 or not isinstance(panel, Bars | Scatter | Parallel)]
    parts = list(chain.from_iterable(_drawn(panel, runs, labels, colours) for panel in panels))
    shown = sorted(runs, key=lambda run: run.group) if view.by_sweep else list(reversed(runs))
    rows = []
    for run in shown:
        report = run.path / "report.html"
        link = Path(os.path.relpath(report, out.parent)).as_posix() if report.is_file() else None
        cells = [_cell(run, value) for value in view.columns]
        rows.append(
            {
                "label": labels[run.path],
                "group": run.group,
                "colour": to_hex(colours[run.path]),
                "link": link,
                "finished": run.complete,
                "cells": cells,
            }
        )
    return {
        "name": ": ".join(filter(None, [view.name.removeprefix("tlcl: ").capitalize(), data])),
        "about": view.about,
        "pictures": [part for part in parts if "data" in part],
        "matrices": [part for part in parts if "rows" in part],
        "columns": [value.label for value in view.columns],
        "rows": rows,
        "by_sweep": view.by_sweep,
    }


def write_dashboard(root: Path, out: Path) -> int:
    """Write the page `out`, no outside resource and no script in it, unless there are no runs.

    Returns:
        How many runs it shows.
    """
    runs = find_runs(root)
    sections = [section for view in VIEWS for section in _sections(view, runs, root, out)]
    shown = {run.path for run in runs if run.job in {view.job for view in VIEWS}}
    if not shown:
        return 0
    render_page(
        out.parent, "dashboard.html.j2", {"root": str(root), "sections": sections, "runs": len(shown)}, out.name
    )
    return len(shown)
