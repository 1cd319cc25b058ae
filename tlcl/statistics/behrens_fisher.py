"""A mean whose variance is a sum of two estimates, of which one may rest on few values: pure functions.

Behrens 1929, "Ein Beitrag zur Fehlerberechnung bei wenigen Beobachtungen"; Fisher 1935, "The fiducial argument in
statistical inference". The mean lies about its true value as the sum of two independent Student variables, each
times a standard error. One Student variable with degrees of freedom between theirs (Satterthwaite 1946) would take
the smaller variance at its word where it is small by chance: of two trainings it is half of the time.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr
from scipy.stats import t

# The first variable is integrated over in steps that grow with its size: one degree of freedom has long tails.
_POINTS = np.linspace(-14.0, 14.0, 4001)
_VALUES = np.sinh(_POINTS)

Variances = tuple[float, float]
Freedoms = tuple[float, float]


def p_value(distance: float, variances: Variances, freedoms: Freedoms) -> float:
    """Probability, in 0..1, of a mean as far from zero, either way, if the true one were zero.

    Args:
        variances: the two estimates, at least 0, of which the mean's variance is the sum.
        freedoms: the degrees of freedom of each, at least 1.
    """
    first, second = (math.sqrt(variance) for variance in variances)
    if first == 0 and second == 0:
        return float(distance == 0)
    if first == 0 or second == 0:
        used = freedoms[0] if second == 0 else freedoms[1]
        return float(2 * t.sf(abs(distance) / (first + second), used))
    weights, far = _weights(freedoms[0]), abs(distance)
    outside = stdtr(freedoms[1], np.stack([first * _VALUES - far, -far - first * _VALUES]) / second).sum(0)
    return min(1.0, float(weights @ outside))


@lru_cache(maxsize=64)
def _weights(freedom: float) -> np.ndarray:
    weights: np.ndarray = t.pdf(_VALUES, freedom) * np.cosh(_POINTS)
    return weights / weights.sum()


def reach(variances: Variances, freedoms: Freedoms, level: float) -> float:
    """How far the confidence interval of the mean goes either way: where p is 1 - level."""
    errors = [math.sqrt(variance) for variance in variances]
    if not any(errors):
        return 0.0
    each = [error * float(t.ppf((1 + level) / 2, free)) for error, free in zip(errors, freedoms, strict=True)]
    if not all(errors):
        return sum(each)
    found = brentq(lambda far: p_value(far, variances, freedoms) - (1 - level), max(each) / 2, 2 * sum(each))
    return float(found)
