"""How figures are written wherever they are shown: on pages, in plots and in the terminal."""

import math

NONE = "–"  # of what was not measured


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def points(share: float | None) -> str:
    """A share as a number of percent with one decimal, where `%` stands in a heading: 0.9149 -> `91.5`."""
    known = _known(share)
    return NONE if known is None else f"{100 * known:.1f}"


def percent(share: float | None) -> str:
    """A share, 0.9149 -> `91.5 %`."""
    text = points(share)
    return text if text == NONE else f"{text} %"


def signed_points(difference: float | None) -> str:
    """A difference of two shares: 0.021 -> `+2.1`."""
    known = _known(difference)
    return NONE if known is None else f"{100 * known:+.1f}"


def signed_interval(difference: float | None, low: float | None, high: float | None) -> str:
    """A difference of two shares with its interval: `+1.2 (-0.4 to +2.9)`."""
    text = signed_points(difference)
    return text if text == NONE else f"{text} ({signed_points(low)} to {signed_points(high)})"


def points_spread(mean: float | None, spread: float | None) -> str:
    """Mean and standard deviation of shares: `91.5 ± 0.4`, without the second where there is none."""
    return points(mean) if _known(spread) is None else f"{points(mean)} ± {points(spread)}"


def three_digits(value: float | None) -> str:
    """A loss or another plain number to three significant digits, without an exponent: 0.09853 -> `0.0985`."""
    known = _known(value)
    if known is None:
        return NONE
    if known == 0:
        return "0"
    rounded = float(f"{known:.3g}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}" if decimals <= 6 else f"{rounded:.2e}"


def three_digits_spread(mean: float | None, spread: float | None) -> str:
    """As `points_spread`, of plain numbers."""
    return three_digits(mean) if _known(spread) is None else f"{three_digits(mean)} ± {three_digits(spread)}"


def count(number: float | None) -> str:
    """A whole number with commas: 11400 -> `11,400`."""
    known = _known(number)
    return NONE if known is None else f"{known:,.0f}"


def counted(number: float | None, one: str, many: str = "") -> str:
    """A count and its noun: `1 image`, `1,200 images`; `many` where the plural is not `one` with an s."""
    return f"{count(number)} {one if number == 1 else many or f'{one}s'}"


def duration(seconds: float | None) -> str:
    """`0.25 s`, `12 s`, `1 min 12 s`, `2 h 05 min`; two parts at most."""
    known = _known(seconds)
    if known is None:
        return NONE
    if known < 9.95:
        return f"{known:.2g} s"
    whole = round(known)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(known / 60), 60)
    return f"{hours:,} h {minutes:02d} min" if minutes else f"{hours:,} h"
