"""What came of a race: a row a setting, and which of them, if any, is recommended."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlcl.jobs.race import Race, number_asked
from tlcl.statistics.accuracy import LEVEL, accuracy_interval
from tlcl.statistics.behrens_fisher import Freedoms, Variances, p_value, reach
from tlcl.statistics.paired import max_t, paired_difference
from tlcl.statistics.power import TIMES, images_to_tell
from tlcl.statistics.racing import expected_gain

WORTH = 0.005  # of the gain that is expected of a guess: half a point of accuracy
# Mean and standard deviation of gains over the head alone, rather less than two networks had on eight sets of
# images and 50 to 2,500 labels (4 +- 4, the grids of benchmarks.depth_claim and depth_race): guesses stay careful.
DEPTHS, SURGICAL = (0.03, 0.04), (-0.01, 0.03)


def race_record(race: Race, labelled: int) -> dict[str, Any]:
    """Of a race that has been run.

    See `recommended` for what is chosen.

    Args:
        labelled: images there are, of which some take part.

    Returns:
        `lucky`: whether the folds' trainings differ so much that `TIMES` times as many labels would not tell.
    """
    adjusted = max_t(race.gains, seed=race.config.seed)
    tests = number_asked(race.gains)
    rows = [_row(race, number, float(p), tests) for number, p in enumerate(adjusted)]
    head = int(race.head_right.sum())
    low, high = accuracy_interval(head, race.images)
    chosen = recommended(rows, race.images)
    asked = [row for row in rows if row["gain"] is not None]
    nearest = max(asked, key=lambda row: (row["asked"], row["gain"]), default=None)
    open_one, more, lucky = chosen or nearest, None, False
    if open_one is not None and not open_one["better"] and open_one["gain"] > 0:
        # As if each setting were tested by itself at its share of the level: all together need no more.
        needed = images_to_tell(open_one["gain"], open_one["discordant"], 1 - (1 - LEVEL) / len(asked))
        if needed is not None and needed <= TIMES * race.images:
            lucky = open_one["asked"] == race.images and _hidden_by_luck(race, open_one["setting"], tests)
            if not lucky and race.images == labelled < needed:
                more = needed - labelled
    return {
        "labelled": labelled,
        "images": race.images,
        "folds": len(race.folds),
        "head": {"acc": head / race.images, "low": low, "high": high},
        "settings": rows,
        "chosen": None if chosen is None else chosen["setting"],
        "nearest": None if nearest is None else nearest["setting"],
        "more_labels": more,
        "lucky": lucky,
        "trainings": len(race.raced),
        "of": len(race.field) * len(race.folds),
    }


def recommended(rows: Sequence[dict[str, Any]], images: int) -> dict[str, Any] | None:
    """The row of the setting to train; None: the head alone stays.

    Of those that were asked about all images: what is told apart from the head alone, by the test of all settings
    together and by its own interval (`better`), with the largest gain; if none is, what the largest gain is
    `expected` of, as the better guess, where that is `WORTH` at least.
    """
    finals = [row for row in rows if row["gain"] is not None and row["asked"] == images]
    found = [row for row in finals if row["better"]]
    if found:
        return max(found, key=lambda row: row["gain"])  # among equals the cheapest
    guesses = [row for row in finals if row["expected"] >= WORTH]
    return max(guesses, key=lambda row: row["expected"], default=None)


def _row(race: Race, number: int, p: float, tests: int) -> dict[str, Any]:
    """Gain, interval, p with all settings together, whether it is better by both, means of seconds, why it left.

    The images of a fold are answered by one training, which may be a lucky one: where every fold was asked, the
    interval is no narrower than `reach_over_folds`, and the p no smaller than that of the folds times `tests`.
    """
    one, known = race.field[number], ~np.isnan(race.gains[number])
    mine = [asked for asked in race.raced if asked.setting == one.name and not asked.stopped]
    row: dict[str, Any] = {
        "setting": one.name, "depth": one.depth, "words": one.words, "overrides": list(one.overrides),
        "asked": int(known.sum()), "gain": None, "low": None, "high": None, "p": None, "discordant": None,
        "expected": None, "better": False, "seconds": None, "bytes": None, "epochs": None,
        "out": race.out.get(one.name),
    }  # fmt: skip
    if mine and known.any():
        head = race.head_right[known] > 0
        pair = paired_difference(head, head ^ (race.gains[number, known] != 0))
        low, high, seconds = pair.low, pair.high, sum(a.seconds for a in mine) / len(mine)
        if known.all():
            sizes = [len(fold) for fold in race.folds]
            far = reach_over_folds(race.gains[number], sizes)
            p = max(p, min(1.0, tests * p_over_folds(race.gains[number], sizes)))
            low, high = min(low, max(-1.0, pair.difference - far)), max(high, min(1.0, pair.difference + far))
        row |= {
            "gain": pair.difference, "low": low, "high": high, "p": p, "discordant": pair.discordant,
            "expected": expected_of(one.depth is not None, pair.difference, pair.discordant, pair.images),
            "better": bool(known.all()) and p < 1 - LEVEL and low > 0, "seconds": seconds,
            "bytes": mine[0].bytes, "epochs": mine[0].epochs,
        }  # fmt: skip
    return row


def expected_of(depth: bool, gain: float, discordant: float, images: int) -> float:
    """See `expected_gain`; surgical sets mostly gain nothing."""
    return expected_gain(gain, discordant, images, DEPTHS if depth else SURGICAL)


def _hidden_by_luck(race: Race, setting: str, tests: int) -> bool:
    number = next(place for place, one in enumerate(race.field) if one.name == setting)
    sizes = [len(fold) for fold in race.folds]
    return tests * p_over_folds(race.gains[number], sizes, TIMES) >= 1 - LEVEL


def p_over_folds(gains: np.ndarray, sizes: Sequence[int], times: float = 1) -> float:
    """One-sided p of a mean gain over folds whose trainings have luck of their own, see `reach_over_folds`.

    Args:
        times: as if there were so many times as many images.
    """
    mean, (of_trainings, of_images), freedoms = _over_folds(gains, sizes)
    variances = of_trainings, of_images / times
    p = p_value(mean, variances, freedoms) / 2
    return p if mean > 0 else 1 - p


def reach_over_folds(gains: np.ndarray, sizes: Sequence[int], level: float = LEVEL) -> float:
    """How far the confidence interval of a mean gain goes either way if each fold's training has luck of its own.

    The folds' gains vary by their images and by their trainings: by how much more than the images alone would have
    it, is the trainings' part of the variance. It rests on as many values as there are folds (`behrens_fisher`).

    Args:
        gains: float (N,), -1, 0 or 1, of the images of one fold after the other.
        sizes: how many images each fold has.
    """
    _, variances, freedoms = _over_folds(gains, sizes)
    return reach(variances, freedoms, level)


def _over_folds(gains: np.ndarray, sizes: Sequence[int]) -> tuple[float, Variances, Freedoms]:
    """The mean, its variance by trainings and by images, and the freedoms of both."""
    folds, images = len(sizes), len(gains)
    means = [float(part.mean()) for part in np.split(gains, np.cumsum(sizes)[:-1])]
    of_images = float(np.var(gains, ddof=1)) / images
    of_trainings = max(0.0, float(np.var(means, ddof=1)) / folds - of_images)
    return float(gains.mean()), (of_trainings, of_images), (folds - 1, images - 1)
