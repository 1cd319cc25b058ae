"""What a race says of settings that differ by the luck of their trainings alone, and by more."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from tlcl.config.candidates import candidates
from tlcl.jobs.race import Asked, Race
from tlcl.jobs.race_record import p_over_folds, race_record, reach_over_folds
from tlcl.reports.how_deep import verdict

NAMES = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
FOLDS, EACH = 6, 200


def raced(gains: np.ndarray) -> Race:
    """A race that is over, from each setting's gains: float (M, N), -1, 0 or 1."""
    field = candidates([], NAMES)[: len(gains)]
    asked = [Asked(one.name, fold, 1.0, "", 1.0, 1, 1) for one in field for fold in range(FOLDS)]
    return cast(Race, SimpleNamespace(
        field=field, gains=gains, head_right=(gains[0] <= 0).astype(float), images=gains.shape[1],
        folds=[range(EACH)] * FOLDS, out={}, raced=asked, config=SimpleNamespace(seed=0),
    ))  # fmt: skip


def drawn(random: np.random.Generator, settings: int, luck: float, gain: float = 0.0) -> np.ndarray:
    """Gains on 6 % of the images, whose mean differs from one training to the next."""
    means = gain + random.normal(0, luck, (settings, FOLDS, 1))
    won = np.clip((0.06 + means) / 2, 0, 1)
    u = random.random((settings, FOLDS, EACH))
    return np.where(u < won, 1.0, np.where(u < 0.06, -1.0, 0.0)).reshape(settings, -1)


def test_lucky_trainings_are_rarely_called_better() -> None:
    random, wrong, before = np.random.default_rng(5), 0, 0
    for _ in range(60):
        gains = drawn(random, 7, 0.02)
        rows = race_record(raced(gains), gains.shape[1])["settings"]
        wrong += any(row["better"] for row in rows)
        before += any(reach_over_folds(one, [EACH] * FOLDS) < one.mean() for one in gains)
    assert wrong <= 4
    assert before > wrong  # an interval for each alone calls more of them better


def test_what_all_trainings_gain_is_found() -> None:
    gains = drawn(np.random.default_rng(0), 7, 0.005, gain=0.04)
    gains = np.where(np.random.default_rng(1).random(gains.shape) < 0.02, 1.0, gains)
    found = race_record(raced(gains), gains.shape[1])
    assert found["chosen"] is not None
    assert any(row["better"] for row in found["settings"])
    assert not found["lucky"]


def test_more_labels_do_not_tell_where_trainings_differ() -> None:
    """Three folds gain 12 points and three lose 6: enough images, and yet not told."""
    gains = np.zeros((1, FOLDS, EACH))
    gains[0, :3, :24], gains[0, 3:, :12] = 1, -1
    found = race_record(raced(gains.reshape(1, -1)), FOLDS * EACH)
    (row,) = found["settings"]
    assert row["low"] < 0 < row["gain"]
    assert not row["better"]
    assert (found["lucky"], found["more_labels"]) == (True, None)
    assert p_over_folds(gains.ravel(), [EACH] * FOLDS, 20) > 0.05
    summary: dict[str, Any] = {"race": found}
    assert "more labels alone may not tell" in verdict(summary)


def test_without_luck_it_is_students_over_images() -> None:
    gains = np.tile([1.0, 0, 0, 0, -1, 1, 0, 0, 0, 0], 12)
    expected = stats.ttest_1samp(gains, 0, alternative="greater").pvalue
    assert p_over_folds(gains, [20] * FOLDS) == pytest.approx(expected)
    assert p_over_folds(-gains, [20] * FOLDS) == pytest.approx(1 - expected)
