"""The distribution of a sum of two Student variables against Student's own, Cauchy's and draws."""

import numpy as np
import pytest
from scipy.stats import t

from tlcl.statistics.behrens_fisher import p_value, reach


def test_one_variance_alone_is_students():
    assert p_value(2.0, (1.0, 0.0), (3, 50)) == pytest.approx(2 * t.sf(2.0, 3))
    assert p_value(-2.0, (0.0, 4.0), (3, 50)) == pytest.approx(2 * t.sf(1.0, 50))
    assert reach((0.25, 0.0), (2, 9), 0.95) == pytest.approx(0.5 * t.ppf(0.975, 2))
    assert (p_value(0.0, (0, 0), (1, 1)), p_value(0.1, (0, 0), (1, 1)), reach((0, 0), (1, 1), 0.95)) == (1, 0, 0)


def test_two_of_one_degree_of_freedom_are_cauchys():
    # The sum of two Cauchy variables is one whose size is the sum of theirs.
    assert p_value(7.0, (1.0, 4.0), (1, 1)) == pytest.approx(2 * t.sf(7.0 / 3, 1), rel=1e-3)
    assert reach((1.0, 4.0), (1, 1), 0.95) == pytest.approx(3 * t.ppf(0.975, 1), rel=1e-3)


@pytest.mark.parametrize(
    ("variances", "freedoms"),
    [((1.0, 0.01), (2, 500)), ((0.3, 1.0), (2, 9)), ((1e-4, 1.0), (1, 300)), ((1, 1), (4, 4))],
)
def test_against_draws(variances, freedoms):
    random = np.random.default_rng(0)
    drawn = sum(np.sqrt(v) * random.standard_t(f, 1_000_000) for v, f in zip(variances, freedoms, strict=True))
    far = reach(variances, freedoms, 0.95)
    assert np.mean(np.abs(drawn) > far) == pytest.approx(0.05, abs=0.001)
    for times in (0.5, 1.5, 2.5):
        assert p_value(times * far, variances, freedoms) == pytest.approx(
            np.mean(np.abs(drawn) > times * far), rel=0.05, abs=5e-6
        )
    assert p_value(far, variances, freedoms) == pytest.approx(0.05)
