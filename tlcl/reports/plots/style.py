"""Colours of all figures and pages, how their axes write shares, and how figures are saved.

The colours are those of Okabe & Ito ("Color Universal Design", 2008), which colour-blind eyes tell apart. All can
be seen on white and on a dark page, for which black and yellow are left out.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, PercentFormatter

from tlcl.reports.plots.fonts import all_letters
from tlcl.system.files import atomic_open

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
AMBER, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"
GREY = "#D9D9D9"  # of what was not measured or not trained
DIM, INK = "#777777", "#555555"  # of the least of several parts; of lines that only divide or compare
SERIES = (BLUE, ORANGE, GREEN, AMBER, PURPLE, SKY, DIM)
LINES, MARKERS = ("-", "--", ":", "-."), "osD^vP*Xhp<>"


def colour_of(number: int) -> str:
    """Colour of the series `number`, from 0; from the seventh on they begin anew."""
    return SERIES[number % len(SERIES)]


def marker_of(number: int) -> str:
    """Marker of the series `number`."""
    return MARKERS[number % len(MARKERS)]


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and line of the series `number`: 28 of them have their own colour and line together."""
    line = LINES[number // len(SERIES) % len(LINES)]
    return {"color": colour_of(number), "marker": marker_of(number), "linestyle": line}


def percent_ticks(axis: Axis) -> None:
    """Shares on `axis` as `20 %`."""
    axis.set_major_formatter(percent_formatter())


def percent_formatter() -> PercentFormatter:
    return PercentFormatter(1.0, symbol=" %")


def short(name: str, length: int) -> str:
    """`name` in at most `length` characters, cut in its middle: long class names often differ at the end."""
    if len(name) <= length:
        return name
    return f"{name[: length - length // 2 - 1]}…{name[-(length // 2) :]}"


def without_formulas(figure: Figure) -> Figure:
    """The figure, in whose texts a `$` is a character: classes and settings may have any name.

    But for the ticks of a logarithmic axis, which writes its powers as formulas.
    """
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    powers = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    formulas = {text for axis in powers for text in axis.findobj(Text) if text is not axis.label}
    for text in figure.findobj(Text):
        if text not in formulas:
            text.set_parse_math(False)
    return figure


def write_png(figure: Figure, file: IO[bytes], dpi: int) -> None:
    """Write a figure whose texts have any letters, `$` among them."""
    with all_letters(without_formulas(figure)):
        figure.savefig(file, format="png", dpi=dpi)


def remove_figures(run_dir: Path, names: Iterable[str]) -> None:
    """Take away what was drawn before and would say nothing now."""
    for name in names:
        (run_dir / "plots" / f"{name}.png").unlink(missing_ok=True)


def save_figures(run_dir: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write each figure to `plots/NAME.png`."""
    paths = []
    for name, figure in figures.items():
        paths.append(run_dir / "plots" / f"{name}.png")
        with atomic_open(paths[-1]) as file:
            write_png(figure, file, 110)
    return paths
