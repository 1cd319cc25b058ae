"""Figures with letters of any script."""

import logging
import warnings
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager

from tlcl.reports.plots import fonts
from tlcl.reports.plots.style import write_png


def written(text: str) -> Figure:
    figure = Figure(figsize=(2, 2), layout="constrained")
    figure.subplots().set_title(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_png(figure, BytesIO(), 40)
    return figure


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for cached in (fonts.letters_of, fonts.fonts_for, fonts._say):
        cached.cache_clear()


def test_usual_letters_keep_the_usual_font(caplog: pytest.LogCaptureFixture) -> None:
    usual = Figure().text(0, 0, "a").get_fontfamily()
    title = written("épée Ж $5").axes[0].title
    assert title.get_fontfamily() == usual
    assert not caplog.records


def test_letters_that_no_font_has_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = [font for font in fontManager.ttflist if "mpl-data" in font.fname]  # matplotlib's own, one all boxes
    assert any("Last" in font.fname for font in own)
    monkeypatch.setattr(fontManager, "ttflist", own)
    for _ in range(2):
        written("日本")
    (record,) = caplog.records
    assert "no installed font has the letters 日本" in record.getMessage()


def test_the_fonts_with_the_most_of_them_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"one": "ab", "two": "abc", "three": "d"}
    monkeypatch.setattr(fontManager, "ttflist", [FontEntry(fname=name, name=name.title()) for name in known])
    monkeypatch.setattr(fonts, "letters_of", lambda file: frozenset(map(ord, known[file])))
    assert fonts.fonts_for(frozenset("abcdz")) == (("Two", "Three"), "z")
