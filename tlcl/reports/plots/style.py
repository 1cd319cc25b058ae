"""Colours of all figures, and how figures are saved."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from tlcl.system.files import atomic_open

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#D9D9D9"


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


def save_figures(run_dir: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write each figure to `plots/NAME.png`."""
    paths = []
    for name, figure in figures.items():
        paths.append(run_dir / "plots" / f"{name}.png")
        with atomic_open(paths[-1]) as file:
            without_formulas(figure).savefig(file, format="png", dpi=110)
    return paths
