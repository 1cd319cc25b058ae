"""The frozen blocks computed once: which of their outputs are worth it, and the callback that serves them."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.config.thaw import ThawSchedule
from tlcl.data.datamodule import ImageDataModule, Rows
from tlcl.data.versions import Versions
from tlcl.models.blocks import Blocks
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations
from tlcl.tracking.timings import Stopwatch

log = logging.getLogger(__name__)


def versions_for(config: Config) -> Versions | None:
    """What a prefix cache holds of each training image; None, with the reason logged, where there is none."""
    data, trainer = config.data, config.trainer
    if data.cache_prefix == "off":
        return None
    if trainer.shared:
        log.info(
            "with trainer.devices=%d and trainer.strategy=%s the frozen blocks are computed in every epoch",
            trainer.devices, trainer.strategy,
        )  # fmt: skip
        return None
    versions = Versions.of(data, config.seed)
    if versions is None and config.schedule.trainable(0) != frozenset(config.schedule.order):
        log.info(
            "data.crop_padding=%d draws new crops, so the frozen blocks are computed in every epoch; "
            "once would do with data.crop_padding=0, or with a fixed number of crops, e.g. data.cached_views=8",
            data.crop_padding,
        )
    return versions


def worth_caching(net: Blocks, schedule: ThawSchedule, epochs: int, versions: int, first: int = 0) -> list[str]:
    """The places that training starts from in the epochs from `first` on, in the network's order.

    None of them when that would compute the frozen blocks as often as training without a cache. The whole run's
    epochs count, whatever `first` is: a resumed run has the same views and the same rounding.
    """
    starts = [last_frozen(net, schedule.trainable(epoch)) for epoch in range(epochs)]
    if sum(start is not None for start in starts) <= versions:
        return []
    return sorted({start for start in starts[first:] if start is not None}, key=net.places.index)


class ServePrefix(L.Callback):
    """At the start of each epoch, serve the outputs of its last frozen place and train the rest of the network.

    Before the first epoch, the outputs of every place that an epoch to come starts from are computed, each from
    the one before; when a block thaws, the next is taken and the last let go. Listed before `Thaw`, which puts the
    blocks in their modes.
    """

    def __init__(self, config: Config, data: ImageDataModule, versions: Versions, watch: Stopwatch) -> None:
        self.config, self.data, self.versions, self.watch = config, data, versions, watch
        self.held: dict[str, tuple[Held, Held]] | None = None
        self.records: list[dict[str, Any]] = []
        self._place: str | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        net: Blocks = pl_module.net  # type: ignore[assignment]
        if self.held is None:
            with self.watch.measure("prefix"):
                self.held = self._compute(net, pl_module.device, trainer.current_epoch)
        place = last_frozen(net, self.config.schedule.trainable(trainer.current_epoch))
        place = place if place in self.held else None
        if place == self._place:
            return
        if place is None:
            everything = Rows(self.data.inputs)
            self.data.serve(everything, everything, None)
        else:
            train, val = self.held[place]
            self.data.serve(self._rows(train, "train"), self._rows(val, "val"), self.versions.count)
        # Places nearer to the head are of weights that change from now on.
        kept = net.places.index(place) + 1 if place else 0
        self.held = {name: pair for name, pair in self.held.items() if name in net.places[:kept]}
        pl_module.start = self._place = place  # type: ignore[assignment]

    def _compute(self, net: Blocks, device: torch.device, first: int) -> dict[str, tuple[Held, Held]]:
        trainer, keeping = self.config.trainer, Keeping.of(self.config)
        places = worth_caching(net, self.config.schedule, trainer.epochs, self.versions.count, first)
        if not places:
            if self.versions.count > 1:
                log.info(
                    "the frozen blocks are computed in every epoch: in so few epochs that is less than "
                    "computing %d versions of each image once", self.versions.count,
                )  # fmt: skip
            return {}
        sides = []
        for indices, versions in ((self.data.split.train, self.versions), (self.data.split.val, Versions(1))):
            images = self.data.inputs[indices]
            blocks = FrozenBlocks(net, images, versions, device, trainer.precision, trainer.progress)
            sides.append(activations(blocks, places, keeping))
            places = list(sides[0])  # validation without training would serve nothing
        train, val = sides
        self.records += [{"of": "train", **held.record()} for held in train.values() if held.place in val]
        self.records += [{"of": "val", **held.record()} for held in val.values()]
        return {place: (train[place], val[place]) for place in val}

    def _rows(self, held: Held, side: str) -> Rows:
        indices: Tensor = getattr(self.data.split, side)
        rows = torch.full((len(self.data.labels),), -1, dtype=torch.int64)
        rows[indices] = torch.arange(len(indices))
        return Rows(held.values, rows)
