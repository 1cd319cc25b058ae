"""One temperature for the answers of a continual run, from images that the method has not learned from.

Methods answer by scores of many kinds: logits, distances, regressions on 0 and 1. A softmax of them is as sure as
their unit happens to be; divided by the temperature, it is as sure as it is right.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from tlcl.continual.methods.base import Method, Network, TaskData
from tlcl.continual.stream import Stream
from tlcl.data.content_order import content_order
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.equal_images import digest_rows
from tlcl.statistics.calibration import FEWEST, fit_score_temperature, too_few
from tlcl.statistics.conformal import true_class_scores
from tlcl.tracking.calibration import Calibration

SHARE, MOST = 0.1, 2000  # of the training images that a closed form is fitted without, to ask about them


class HeldOutScores(NamedTuple):
    """What a method that has not learned from n images says of them, after the last task.

    Attributes:
        scores: (n, K).
        labels: int64 (n,).
        which: what they are, as what follows "on 100".
    """

    scores: Tensor
    labels: Tensor
    which: str


class Temperature(NamedTuple):
    """By what the scores are divided, and why by nothing else; `images` held-out ones it was fitted on."""

    value: float
    reason: str | None
    images: int
    which: str


def temperature_of(held_out: HeldOutScores) -> Temperature:
    """What makes the answers about the held-out images on average as sure as right; 1 where they are too few."""
    images = len(held_out.labels)
    if reason := too_few(images):
        return Temperature(1.0, reason, images, held_out.which)
    value = fit_score_temperature(held_out.scores.double().numpy(), held_out.labels.numpy())
    return Temperature(value, None, images, held_out.which)


def calibration_of(held_out: HeldOutScores, fitted: Temperature, itself: bool) -> Calibration:
    """What is kept of it for new images.

    Args:
        itself: whether the network answers by itself: its answers are then divided by the temperature each time;
            the scores of a method are when they are made, so that limits of them are of these images' temperature.
    """
    probabilities = (held_out.scores / (1.0 if itself else fitted.value)).softmax(1).double().numpy()
    scores = tuple(true_class_scores(probabilities, held_out.labels.numpy()).tolist()) if fitted.images else ()
    reason = fitted.reason or (None if itself else "the method's scores are divided by one when they are made")
    return Calibration(fitted.value if reason is None else None, reason, fitted.images, fitted.which, scores)


def _but_one_a_class(order: Tensor, labels: Tensor, count: int) -> Tensor:
    """The first `count` of an order, or fewer: no class loses its last image. int64, sorted."""
    left, drawn = labels.bincount().tolist(), list[int]()
    for place, label in zip(order.tolist(), labels[order].tolist(), strict=True):
        if len(drawn) == count:
            break
        if left[label] > 1:
            left[label] -= 1
            drawn.append(place)
    return torch.tensor(sorted(drawn), dtype=torch.int64)


def held_out_features(
    method: Method, network: Network, stream: Stream, inputs: Tensor, device: torch.device, seed: int
) -> HeldOutScores:
    """For a closed form with too few validation images: the same method, fitted anew without some of the others.

    A tenth of each task's, or of few so many as a temperature takes, half at most; of a class one stays at least.

    Args:
        method: in its state before the first task; it is changed.
        inputs: what the network takes, of the whole pool.
        seed: of the run, by which they are drawn, from what the images are: no order of files has a part in it.
    """
    labels, kept = stream.source.pool.labels, []
    contents = digest_rows(stream.source.pool)
    method.to(device).eval()
    enough = FEWEST / max(1, sum(len(task.split.train) for task in stream.tasks))
    for task in stream.tasks:
        train = task.split.train
        count = round(SHARE * len(train)) if enough <= SHARE else math.ceil(min(0.5, enough) * len(train))
        order = content_order(contents[train], seed, "continual/held_out")
        drawn = _but_one_a_class(order, labels[train], min(count, MOST // len(stream.tasks)))
        kept.append(train[drawn])
        rest = train[~torch.isin(torch.arange(len(train)), drawn)]
        method.begin_task(network, replace(task, split=replace(task.split, train=rest)))
        data = TaskData(inputs, labels, rest, stream.source.pool.images)
        with torch.no_grad():
            for batch, own in data.batches(EVAL_BATCH, device):
                method.observe_features(batch, own)
            method.end_task(network, data)
    asked, which = torch.cat(kept), "training images that the classifier was fitted without"
    if not len(asked):
        return HeldOutScores(torch.empty(0, len(method.seen)), labels[asked], which)
    with torch.no_grad():
        parts = [method.predict(network, inputs[part].to(device)).cpu() for part in asked.split(EVAL_BATCH)]
    return HeldOutScores(torch.cat(parts), labels[asked], which)
