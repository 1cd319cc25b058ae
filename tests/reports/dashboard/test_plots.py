"""The pictures of the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.reports.dashboard.conftest import EVIL, loaded
from tlcl.reports.dashboard.page import find_runs, labels_of
from tlcl.reports.dashboard.plots import bars_figure, colours_of, lines_figure, parallel_figure
from tlcl.reports.dashboard.views import SWEEP, Bars, Lines, Parallel


def lines_of(figure: Figure | None) -> list[Any]:
    assert figure is not None
    return list(figure.axes[0].get_lines())


def test_curves_are_the_recorded_figures(runs_dir: Path) -> None:
    runs = loaded(runs_dir)
    (line, *others) = lines_of(lines_figure(Lines("", "epoch", ("val/acc",)), runs, colours_of(runs)))
    np.testing.assert_allclose(line.get_xydata(), [[0, 0.5], [1, 0.6], [2, 0.7]])
    assert len(others) == 2
    assert lines_figure(Lines("", "task", ("continual/forgetting",)), runs, colours_of(runs)) is None


def test_bars_are_sorted_and_name_what_is_left_out(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, labels = loaded(runs_dir), labels_of(loaded(runs_dir), runs_dir)
    monkeypatch.setattr("tlcl.reports.dashboard.plots.MOST_BARS", 2)
    figure = bars_figure(Bars("Test", "test_acc"), runs, labels, colours_of(runs))
    assert figure is not None
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.72]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["depth 5", "depth 2"]
    assert "the first 2 of 3" in axes.get_title(loc="left")


def test_parallel_coordinates_meet_their_axes(runs_dir: Path) -> None:
    """A line a run; on the last axis at its own height, and runs without a value are counted, not drawn."""
    panel = next(panel for panel in SWEEP.panels if isinstance(panel, Parallel))
    odd = [run for run in find_runs(runs_dir) if run.name == EVIL]
    figure = parallel_figure(panel, [*loaded(runs_dir), *odd])
    lines = [line for line in lines_of(figure) if len(line.get_xdata()) == len(panel.columns)]
    np.testing.assert_allclose([line.get_ydata()[-1] for line in lines], [0, 0.4, 1])
    np.testing.assert_allclose([line.get_ydata()[0] for line in lines], [0, 0.4, 1], atol=0.01)
    assert figure is not None
    assert "; 1 without one of these" in figure.axes[0].get_title(loc="left")
