"""Accuracy by the number of labels, of the head alone and of one setting of a race, on its first two folds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlcl.data.splits import stratified_order
from tlcl.jobs.race import Race, bits_of, number_asked
from tlcl.statistics.accuracy import accuracy_interval
from tlcl.statistics.paired import Difference, paired_difference, together

FOLDS = 2


def learning_curve(race: Race, setting: str | None, better: bool) -> list[dict[str, Any]]:
    """Accuracy of the head, and of the setting, trained on shares of the labels (`depth.curve`, and all).

    Where both answer, the gain with its interval, and whether it is `told` apart: all shares tested together, and
    all settings, of which this one was chosen on the same images. Of all labels the race has told already.

    Args:
        better: whether the race says so of the setting.
    """
    one = next((one for one in race.field if one.name == setting), None)
    points: list[dict[str, Any]] = []
    pairs: dict[int, Difference] = {}
    for share in sorted({*race.keys.curve, 1.0}):
        heads, deeper, used = [], [], 0
        for fold in range(min(FOLDS, len(race.folds))):
            rows = _part(race, race.rest(fold), share, fold)
            used += len(rows)
            head = race.head_of(rows)
            heads.append(race.right_of(head, race.folds[fold]))
            if one is not None:
                asked = race.ask(one, fold, rows, head, share)
                deeper.append(bits_of(asked.right) if not asked.stopped else np.full(len(heads[-1]), np.nan))
        right = np.concatenate(heads)
        point: dict[str, Any] = {"labels": used // len(heads), "images": len(right)}
        point |= {"head": float(right.mean()), "head_interval": accuracy_interval(int(right.sum()), len(right))}
        if one is not None and not np.isnan(np.concatenate(deeper)).any():
            theirs = np.concatenate(deeper)
            point["deeper"] = float(theirs.mean())
            point["deeper_interval"] = accuracy_interval(int(theirs.sum()), len(theirs))
            pairs[len(points)] = paired_difference(right > 0, theirs > 0)
        points.append(point)
    settings = number_asked(race.gains)
    for place, pair in together(pairs).items():
        told = better if place == len(points) - 1 else settings * pair.p < 1 - pair.level and pair.low > 0
        points[place] |= {"gain": pair.difference, "gain_interval": (pair.low, pair.high), "told": told}
    return points


def _part(race: Race, rows: Tensor, share: float, fold: int) -> Tensor:
    """The first so many of a stratified order, and of a class that is not among them its first image."""
    labels = race.start.labels[rows]
    order = stratified_order(labels, race.config.seed, f"how_deep/curve/{fold}")
    firsts = torch.tensor([int((labels[order] == label).nonzero()[0]) for label in labels.unique()])
    places = torch.cat([torch.arange(round(share * len(rows))), firsts]).unique()
    return rows[order[places]].sort().values
