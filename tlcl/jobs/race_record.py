"""What came of a race: a row a setting, and which of them, if any, is recommended."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlcl.jobs.race import Race
from tlcl.statistics.accuracy import LEVEL, accuracy_interval
from tlcl.statistics.behrens_fisher import reach
from tlcl.statistics.paired import images_to_tell, max_t, paired_difference

WORTH = 0.005  # of the gain that is guessed at: half a point of accuracy
MOST = 20  # times as many labels as there are; more are not named


def race_record(race: Race, labelled: int) -> dict[str, Any]:
    """Of a race that has been run.

    Recommended is the finalist with the largest gain of those that are told apart from the head alone, by the test
    of all settings together and by its own interval (`better`). If none is, it is the one with the largest gain,
    as the better guess, where that is `WORTH` at least; else the head.

    Args:
        labelled: images there are, of which some take part.
    """
    adjusted = max_t(race.gains, seed=race.config.seed)
    rows = [_row(race, number, float(p)) for number, p in enumerate(adjusted)]
    head = int(race.head_right.sum())
    low, high = accuracy_interval(head, race.images)
    finals = [row for row in rows if row["setting"] in race.finalists and row["gain"] is not None]
    ahead = [row for row in finals if row["better"]] or [row for row in finals if row["gain"] >= WORTH]
    chosen = max(ahead, key=lambda row: row["gain"], default=None)  # among equals the cheapest
    asked = [row for row in rows if row["gain"] is not None]
    nearest = max(asked, key=lambda row: (row["asked"], row["gain"]), default=None)
    open_one, more = chosen or nearest, None
    if open_one is not None and not open_one["better"] and open_one["gain"] > 0:
        # As if each setting were tested by itself at its share of the level: all together need no more.
        needed = images_to_tell(open_one["gain"], open_one["discordant"], 1 - (1 - LEVEL) / len(asked))
        if needed is not None and race.images == labelled and labelled < needed <= MOST * labelled:
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
        "trainings": len(race.raced),
        "of": len(race.field) * len(race.folds),
    }


def _row(race: Race, number: int, p: float) -> dict[str, Any]:
    """Gain, interval, p with all settings together, whether it is better by both, means of seconds, why it left.

    The images of a fold are answered by one training, which may be a lucky one: where every fold was asked, the
    interval is no narrower than `reach_over_folds`.
    """
    one, known = race.field[number], ~np.isnan(race.gains[number])
    mine = [asked for asked in race.raced if asked.setting == one.name and not asked.stopped]
    row: dict[str, Any] = {
        "setting": one.name, "depth": one.depth, "words": one.words, "overrides": list(one.overrides),
        "asked": int(known.sum()), "gain": None, "low": None, "high": None, "p": None, "discordant": None,
        "better": False, "seconds": None, "bytes": None, "epochs": None, "out": race.out.get(one.name),
    }  # fmt: skip
    if mine and known.any():
        head = race.head_right[known] > 0
        pair = paired_difference(head, head ^ (race.gains[number, known] != 0))
        low, high, seconds = pair.low, pair.high, sum(a.seconds for a in mine) / len(mine)
        if known.all():
            far = reach_over_folds(race.gains[number], [len(fold) for fold in race.folds])
            low, high = min(low, max(-1.0, pair.difference - far)), max(high, min(1.0, pair.difference + far))
        row |= {
            "gain": pair.difference, "low": low, "high": high, "p": p, "discordant": pair.discordant,
            "better": bool(known.all()) and p < 1 - LEVEL and low > 0, "seconds": seconds,
            "bytes": mine[0].bytes, "epochs": mine[0].epochs,
        }  # fmt: skip
    return row


def reach_over_folds(gains: np.ndarray, sizes: Sequence[int], level: float = LEVEL) -> float:
    """How far the confidence interval of a mean gain goes either way if each fold's training has luck of its own.

    The folds' gains vary by their images and by their trainings: by how much more than the images alone would have
    it, is the trainings' part of the variance. It rests on as many values as there are folds (`behrens_fisher`).

    Args:
        gains: float (N,), -1, 0 or 1, of the images of one fold after the other.
        sizes: how many images each fold has.
    """
    folds, images = len(sizes), len(gains)
    means = [float(part.mean()) for part in np.split(gains, np.cumsum(sizes)[:-1])]
    of_images = float(np.var(gains, ddof=1)) / images
    of_trainings = max(0.0, float(np.var(means, ddof=1)) / folds - of_images)
    return reach((of_trainings, of_images), (folds - 1, images - 1), level)
