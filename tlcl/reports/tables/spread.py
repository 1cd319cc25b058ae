"""Mean and standard deviation of what was measured more than once."""

import math
from collections.abc import Sequence

import numpy as np


def mean_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1) of the numbers that are there; None for no, or one, number."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None
