"""The first answer of a fine-tuning run: a head fitted to convergence on the frozen network's features.

No labelled image is given away to validation: cross-validation chooses the one number there is to choose.
"""

import logging
import sys
import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tlcl.config.schema import Config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageSubset, ImageTensors
from tlcl.data.versions import Versions
from tlcl.finetuning.class_weights import evens_out
from tlcl.finetuning.fitted_head import (
    FOLDS,
    PENALTIES,
    ChosenPenalty,
    FittedHead,
    choose_penalty,
    fit_head,
)
from tlcl.models.blocks import FEATURES, Blocks
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations
from tlcl.prefix_cache.probabilities import probabilities_from
from tlcl.reports.verdict import accuracy_words
from tlcl.statistics.accuracy import accuracy_interval

log = logging.getLogger(__name__)


class FirstAnswer(NamedTuple):
    """What the frozen network and a fitted head answer.

    Attributes:
        head: fitted on all labelled images.
        chosen: how its penalty was chosen.
        indices: int64 (N,), the labelled images in the pool.
        features: float32 (N, V, D), of each image and, with data.flip, its mirror image.
        test: the test images' outputs that later answers start from, by place.
        record: for the summary.
        class_weight: with which the head is fitted, see `fit_head`.
    """

    head: FittedHead
    chosen: ChosenPenalty
    indices: Tensor
    features: Tensor
    test: dict[str, Held]
    record: dict[str, Any]
    class_weight: str | None

    def fit(self, which: Tensor, labels: Tensor, classes: int) -> FittedHead:
        """A head fitted on some of the labelled images, by their numbers among them."""
        features, theirs = self.features[which].mean(1), labels[self.indices[which]]
        return fit_head(features, theirs, classes, self.chosen.penalty, self.class_weight)


def labelled_images(data: ImageDataModule) -> Tensor:
    """All images of the pool that have a say: int64 (N,), sorted.

    The validation images are among them; not with data.train_size, which says how many labels there are, nor where
    the user has set them apart himself.
    """
    split, apart = data.split, data.source.val is not None
    parts = [split.train] if apart or data.config.train_size is not None else [split.train, split.val]
    return torch.cat(parts).sort().values


def outputs_of(
    net: Blocks,
    images: Tensor | ImageSubset,
    versions: Versions,
    places: list[str],
    config: Config,
    device: torch.device,
    keeping: Keeping,
) -> dict[str, Held]:
    """The outputs of `places`, in the network's order; the features among them, in memory if nowhere else."""
    trainer = config.trainer
    blocks = FrozenBlocks(net, images, versions, device, trainer.of_frozen, trainer.progress)
    # The features are few numbers, and every digit of them counts in a fit.
    exact = replace(keeping, dtype="float32")
    held = {} if keeping.mode == "off" else activations(blocks, places, exact)
    keeping.budget = exact.budget
    if FEATURES not in held:
        held |= activations(blocks, [FEATURES], replace(exact, mode="ram", budget=sys.maxsize))
    return held


def first_answer(
    net: Blocks,
    data: ImageDataModule,
    test: ImageTensors,
    config: Config,
    device: torch.device,
    keeping: Keeping,
) -> FirstAnswer:
    """Fit the head, put it into `net`, and say at once how good it is on the test images."""
    began = time.perf_counter()
    indices = labelled_images(data)
    labels, classes = data.labels[indices], len(data.classes)
    versions = Versions.of(config.data, config.seed, cropped=False)
    assert versions is not None
    held = outputs_of(
        net, ImageSubset(data.inputs, indices), versions, [FEATURES], config, device, keeping
    )[FEATURES]
    features = held.values if versions.count > 1 else held.values[:, None]
    deepest = last_frozen(net, config.schedule.trainable(config.trainer.epochs - 1))
    places = [place for place in (deepest, FEATURES) if place is not None]
    asked = outputs_of(net, test.images, Versions(1), list(dict.fromkeys(places)), config, device, keeping)

    fitted, class_weight = features.mean(1), "balanced" if evens_out(config) else None
    log.info("fitting a new head to %s images, its penalty by cross-validation", f"{len(indices):,}")
    steps = min(FOLDS, len(indices)) * len(PENALTIES)
    shown = None if config.trainer.progress else True
    with tqdm(total=steps, desc="cross-validation", unit=" fits", disable=shown, delay=1, leave=False) as bar:
        chosen = choose_penalty(fitted, features[:, 0], labels, classes, config.seed, bar.update, class_weight)
    head = fit_head(fitted, labels, classes, chosen.penalty, class_weight)
    head.put_into(net.classifier)
    probabilities = probabilities_from(net, asked[FEATURES], config, device)
    right = int((probabilities.argmax(1) == test.labels).sum())
    low, high = accuracy_interval(right, len(test))
    seconds = time.perf_counter() - began
    record = {
        "test_acc": right / len(test),
        "interval": [low, high],
        "fitted_on": len(indices),
        "penalty": chosen.penalty,
        "tried": dict(zip(map(str, chosen.tried), chosen.losses, strict=True)),
        "folds": chosen.folds,
        "cv_acc": chosen.accuracy if chosen.folds else None,
        "cv_loss": chosen.loss if chosen.folds else None,
        "seconds": round(seconds, 2),
    }
    log.info(
        "first answer, %.1f s after the images were read: %s; a new head on the frozen %s, fitted to %s images%s",
        seconds, accuracy_words(right, len(test)), config.model.title, f"{len(indices):,}",
        f" (cross-validation: {100 * chosen.accuracy:.1f} %)" if chosen.folds else "",
    )  # fmt: skip
    return FirstAnswer(head, chosen, indices, features, asked, record, class_weight)
