"""Letters that the usual font of figures does not have: class names may be in any script."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

log = logging.getLogger(__name__)
USUAL = "DejaVu Sans"  # comes with matplotlib
LAST_RESORT = "LastResort"  # in the name of a font's file that draws every letter as a box


@cache
def letters_of(file: str) -> frozenset[int]:
    """The code points that a font has; none of one that cannot be read."""
    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@cache
def fonts_for(missing: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Names of installed fonts that together have as many of these letters as there are, and those none has."""
    left, chosen = set(map(ord, missing)), []
    fonts = [font for font in fontManager.ttflist if LAST_RESORT not in Path(font.fname).name.replace(" ", "")]
    while left and fonts:
        best = max(fonts, key=lambda font: len(left & letters_of(font.fname)))
        found = left & letters_of(best.fname)
        if not found:
            break
        chosen.append(best.name)
        left -= found
    return tuple(chosen), "".join(sorted(map(chr, left)))


@cache
def _say(letters: str) -> None:
    log.info("no installed font has the letters %s, which figures show as boxes; install one, e.g. Noto", letters)


@contextmanager
def all_letters(figure: Figure) -> Iterator[Figure]:
    """The figure with fonts for all of its letters; of those that no installed font has it is said once."""
    usual = letters_of(findfont(FontProperties(family=USUAL)))
    texts = figure.findobj(Text)
    missing = frozenset(
        letter for text in texts for letter in text.get_text() if letter.isprintable() and ord(letter) not in usual
    )
    if missing:
        more, left = fonts_for(missing)
        for text in texts:
            text.set_fontfamily([USUAL, *more])
        if left:
            _say(left[:20])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield figure
