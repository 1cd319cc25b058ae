"""The one format of figures: values written by hand."""

import math

import pytest

from tlcl.system.figures import (
    count,
    counted,
    duration,
    percent,
    points,
    points_spread,
    signed_interval,
    signed_points,
    three_digits,
    three_digits_spread,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.254, "0.25 s"), (4.0, "4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"),
        (59.6, "1 min"), (72.0, "1 min 12 s"), (3599.7, "1 h"), (7499.0, "2 h 05 min"), (360_000.0, "100 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_parts_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.098531, "0.0985"), (2.3659, "2.37"), (12.34, "12.3"), (0.9996, "1.00"), (123.4, "123"), (11_432, "11,400"),
     (0, "0"), (-0.02, "-0.0200"), (1.234e-9, "1.23e-09")],
)  # fmt: skip
def test_a_loss_has_three_significant_digits(value: float, text: str) -> None:
    assert three_digits(value) == text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=6e-3)


def test_shares_have_one_decimal() -> None:
    assert (points(0.91494), percent(0.91494), percent(0.0), percent(1)) == ("91.5", "91.5 %", "0.0 %", "100.0 %")
    assert (signed_points(0.021), signed_points(-0.0049)) == ("+2.1", "-0.5")
    assert (points_spread(0.3, 0.1414), points_spread(0.3, None)) == ("30.0 ± 14.1", "30.0")
    assert three_digits_spread(0.5, 0.0123) == "0.500 ± 0.0123"
    assert count(11_689_512) == "11,689,512"


@pytest.mark.parametrize("write", [points, percent, signed_points, three_digits, count, duration])
def test_what_is_not_known_is_a_dash(write: object) -> None:
    assert callable(write)
    assert [write(value) for value in (None, math.nan, math.inf)] == ["–"] * 3


def test_a_difference_stands_with_its_interval() -> None:
    assert signed_interval(0.012, -0.004, 0.029) == "+1.2 (-0.4 to +2.9)"
    assert signed_interval(None, None, None) == "–"


def test_one_is_counted_without_a_plural() -> None:
    numbers = (0, 1, 2, 1200)
    assert [counted(n, "image") for n in numbers] == ["0 images", "1 image", "2 images", "1,200 images"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]
