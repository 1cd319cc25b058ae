"""The palette, measured: what normal and colour-blind eyes see of it on white and on the dark page."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from tlcl.reports.plots.style import SERIES, line_style

# Machado, Oliveira & Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# table 1, severity 1: linear RGB as it is seen.
EYES = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
}  # fmt: skip
# sRGB (IEC 61966-2-1) to XYZ, D65
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> NDArray[np.float64]:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB."""
    ratio = XYZ @ rgb.clip(0, 1) / XYZ.sum(1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * 841 / 108 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
def test_every_two_colours_can_be_told_apart(eyes: str) -> None:
    seen = [lab(np.asarray(EYES[eyes]) @ linear(colour)) for colour in SERIES]
    apart = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))
    assert apart > 10  # 2.3 is the least that is noticed side by side (Mahy et al. 1994)


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_every_colour_shows_on_both_pages(page: str) -> None:
    """Contrast by WCAG 2.1: the ratio of the relative luminances, each plus 0.05."""

    def luminance(colour: str) -> float:
        return float(XYZ[1] @ linear(colour)) + 0.05

    for colour in SERIES:
        low, high = sorted((luminance(colour), luminance(page)))
        assert high / low > 2, colour


def test_twenty_series_look_different() -> None:
    styles = [line_style(number) for number in range(20)]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 20
