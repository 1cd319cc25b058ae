"""The pictures that are drawn from the register: their points are its figures, and the PNGs are not older."""

from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.figure import Table, Value
from benchmarks.register import ROOT, drawn_from, read


def script(name: str) -> Any:
    path = str(ROOT / "docs" / f"{name}.py")
    loader = SourceFileLoader(name, path)
    module = ModuleType(name)
    module.__file__ = path
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["three_questions", "depth_claim"])
def test_the_picture_is_of_the_figures_of_today(name: str) -> None:
    module = script(name)
    with Image.open(module.PICTURE) as picture:
        assert picture.info["Figures"] == drawn_from(module.figures())["Figures"], f"python docs/{name}.py"


def test_a_figure_that_is_measured_anew_makes_a_picture_old(tmp_path: Any) -> None:
    (tmp_path / "one.json").write_text("abc")
    before = drawn_from(["one"], tmp_path)
    assert before == {"Figures": "one:ba7816bf8f01"}  # of FIPS 180-2, appendix B.1
    (tmp_path / "one.json").write_text("abd")
    assert drawn_from(["one"], tmp_path) != before


def test_points_of_the_depths_are_the_figure_s() -> None:
    module = script("three_questions")
    table = Table(
        ("images", "labels", "last two"),
        (("PACS photo", "50", Value(-0.031, "signed", -0.05, -0.01)),
         ("PACS photo", "2,500", Value(0.02, "signed", -0.01, 0.05))),
    )  # fmt: skip
    axes = Figure().subplots()
    module.draw_depths(axes, table)
    line, first, second, zero, _leads_to_its_name = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[50, -3.1], [2500, 2.0]])
    np.testing.assert_allclose(first.get_ydata(), [-5, -1])
    np.testing.assert_allclose(second.get_ydata(), [-1, 5])
    assert set(zero.get_ydata()) == {0}
    assert [text.get_text().strip() for text in axes.texts] == ["photo"]


def test_points_of_the_forgetting_are_the_figure_s() -> None:
    module = script("three_questions")
    figure = read(module.FORGETTING).table()
    axes = Figure().subplots()
    module.draw_forgetting(axes, figure)
    whole = [row for row in figure.rows if isinstance(row[figure.columns.index("after 1")], Value)]
    drawn = {tuple(np.round(line.get_ydata(), 9)) for line in axes.lines if line.get_marker() == "o"}
    after = [place for place, name in enumerate(figure.columns) if name.startswith("after ")]
    assert drawn == {tuple(round(row[place].value, 9) for place in after) for row in whole}  # type: ignore[union-attr]


def test_bars_of_the_adaptation_are_the_figure_s() -> None:
    module = script("three_questions")
    table = Table(
        ("method", module.TESTED, module.TOGETHER),
        (("source_only", Value(0.4), ""), ("mcc", Value(0.6), "0.04"), ("dann", Value(0.41), "0.06")),
    )  # fmt: skip
    axes = Figure().subplots()
    module.draw_adaptation(axes, table)
    bars = {name.get_text(): bar for name, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
    assert {name: bar.get_width() for name, bar in bars.items()} == {"source_only": 0.4, "dann": 0.41, "mcc": 0.6}
    assert bars["dann"].get_facecolor()[:3] == (1, 1, 1), "cannot be told apart"
    assert bars["mcc"].get_facecolor()[:3] != (1, 1, 1)


def test_bands_of_the_claim_are_the_figure_s() -> None:
    module = script("depth_claim")
    table = read(module.figures()[0]).table()
    panel = next(one for one in module.picture().axes if one.get_title())
    rows = [row for row in table.rows if row[0] == panel.get_title().partition(" (")[0]]
    for words in module.SETTINGS.values():
        (line,) = (one for one in panel.lines if one.get_label() == words)
        cells = [row[table.columns.index(words)] for row in rows]
        np.testing.assert_allclose(line.get_ydata(), [100 * cell.value for cell in cells])  # type: ignore[union-attr]
