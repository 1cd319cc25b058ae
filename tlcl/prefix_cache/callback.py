"""The frozen blocks computed once: which of their outputs are worth it, and the callback that serves them."""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.data.datamodule import IndexedDataModule, Rows
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.versions import Crops, Versions, crops_in
from tlcl.models.blocks import Blocks
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations
from tlcl.prefix_cache.shares import Shares
from tlcl.tracking.timings import Stopwatch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What an epoch's training starts from.

    Attributes:
        place: the last frozen one; None: nothing is frozen.
        versions: of the training images; None: new crops are drawn in every epoch.
    """

    place: str | None
    versions: Versions | None


def start_of(net: Blocks, config: Config, trainable: frozenset[str]) -> Start:
    """Of an epoch in which `trainable` blocks train."""
    versions = Versions.of(config.data, config.seed, cropped=crops_in(config.data, trainable))
    return Start(last_frozen(net, trainable), versions)


def starts(net: Blocks, config: Config) -> list[Start]:
    """Of every epoch of the run."""
    return [start_of(net, config, config.schedule.trainable(epoch)) for epoch in range(config.trainer.epochs)]


def worth_caching(planned: list[Start], first: int = 0) -> dict[Versions, list[str]]:
    """The places whose outputs of the training images are computed once, by their versions, in the planned order.

    Not those that would so be computed as often as in training without a cache. The whole run's epochs count,
    whatever `first`, the epoch that it goes on from, is: a resumed run has the same views and the same rounding.
    """
    uses = Counter(start.versions for start in planned if start.place is not None)
    places: dict[Versions, list[str]] = {}
    for start in planned[first:]:
        if start.place is None or start.versions is None or uses[start.versions] <= start.versions.count:
            continue
        known = places.setdefault(start.versions, [])
        if start.place not in known:
            known.append(start.place)
    return places


def new_crops(config: Config) -> str:
    """Why training images are not computed once, and with what they would be."""
    drawn = Crops.of(config.data).named()
    return (
        f"{drawn} draws new views, so the frozen blocks compute the training images in every epoch; once would do "
        "with a fixed number of them, e.g. data.cached_views=8"
    )


def can_serve(config: Config) -> bool:
    """Whether frozen blocks are computed once at all."""
    return config.data.cache_prefix != "off"


class SharedViews:
    """The outputs of fixed views of some images of the pool, computed once for several trainings of parts of them.

    Args:
        indices: int64 (n,), the images, in whose order the views are drawn.
        keeping: where, together with all else that the run keeps.

    Attributes:
        held: by versions and place: (n, V, ...); without those that cannot be kept.
    """

    def __init__(
        self, config: Config, data: IndexedDataModule, indices: Tensor, device: torch.device, keeping: Keeping
    ) -> None:
        self.config, self.inputs, self.indices = config, data.inputs, indices
        self.device, self.keeping = device, keeping
        self.held: dict[Versions, dict[str, Held]] = {}

    def fill(self, net: Blocks) -> None:
        """Compute all that any epoch starts from, of a network none of whose blocks is trained yet.

        Where the cache is off, nothing: each epoch computes what it needs.
        """
        if not can_serve(self.config):
            return
        planned, trainer = starts(net, self.config), self.config.trainer
        for versions in dict.fromkeys(start.versions for start in planned):
            places = {start.place for start in planned if start.versions == versions and start.place is not None}
            if versions is not None and places:
                images = ImageSubset(self.inputs, self.indices)
                blocks = FrozenBlocks(net, images, versions, self.device, trainer.of_frozen, trainer.progress)
                self.held[versions] = activations(blocks, sorted(places, key=net.places.index), self.keeping)


class ServePrefix(L.Callback):
    """At the start of each epoch, serve the outputs of its last frozen place and train the rest of the network.

    When versions of the training images are first needed, the outputs of every place that an epoch to come starts
    from are computed of them, each from the one before; when a block thaws, the next is taken and the last let go.
    The validation images' are always computed once. With `thaw.patience` nobody knows which block thaws when, so
    all are computed at each thaw. Listed before `Thaw`, which puts the blocks in their modes.

    Args:
        keeping: where, when others keep something beside it.
        shared: views of the training images, and of others, that other trainings use too.
    """

    def __init__(
        self,
        config: Config,
        data: IndexedDataModule,
        watch: Stopwatch,
        keeping: Keeping | None = None,
        shared: SharedViews | None = None,
    ) -> None:
        self.config, self.data, self.watch, self.shared = config, data, watch, shared
        self.keeping = keeping or Keeping.of(config)
        self.train: dict[Versions, dict[str, Held]] = {}
        self.val: dict[str, Held] | None = None
        self.records: list[dict[str, Any]] = []
        self._told = False
        self._noted: list[Versions] = []
        self._assumed: Start | None = None
        self._serving: tuple[str | None, str | None, Versions | None] = (None, None, None)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        net: Blocks = pl_module.net  # type: ignore[assignment]
        epoch = trainer.current_epoch
        planned = self._planned(net, pl_module.trainable_blocks)  # type: ignore[arg-type]
        start = planned[epoch]
        self._let_go(net, start)
        place, device = start.place or "", pl_module.device
        train = self._train(net, device, planned, epoch).get(place)
        val = self._val(net, device, planned, epoch).get(place)
        if train is None and self.keeping.dtype == "bfloat16":
            val = None  # rounded for the sake of training alone, which does not use it
        versions = start.versions if train and start.versions else None
        serving = (train.place if train else None, val.place if val else None, versions)
        if serving == self._serving:
            return
        self._serving = serving
        everything = Rows(self.data.inputs)
        self.data.serve(
            self._rows(train, self.data.split.train if self.shared is None else self.shared.indices)
            if train
            else everything,
            self._rows(val, self.data.split.val) if val else everything,
            versions.count if versions else None,
        )
        pl_module.start, pl_module.val_start = serving[:2]  # type: ignore[assignment]

    def _planned(self, net: Blocks, trainable: frozenset[str]) -> list[Start]:
        """What each epoch starts from; with `thaw.patience`, as if what trains now did so in all of them."""
        if self.config.schedule.patience is None:
            return starts(net, self.config)
        start = start_of(net, self.config, trainable)
        if start != self._assumed:
            self._let_go(net, Start(None, None))
            self._assumed, self.val = start, None
        return [start] * self.config.trainer.epochs

    def _train(self, net: Blocks, device: torch.device, planned: list[Start], epoch: int) -> dict[str, Held]:
        """The outputs of the training images in the versions of this epoch."""
        versions = planned[epoch].versions
        if versions is None:
            if planned[epoch].place is not None and not self._told:
                self._told = True
                log.info("%s", new_crops(self.config))
            return {}
        if self.shared is not None:
            held = self.shared.held.get(versions, {})
            if versions not in self._noted:
                self._noted.append(versions)
                self.records += [{"of": "train", **one.record()} for one in held.values()]
            return held
        if versions not in self.train:
            places = worth_caching(planned, epoch).get(versions, [])
            if not places and versions.count > 1 and versions.crops and planned[epoch].place is not None:
                log.info(
                    "the frozen blocks are computed in every epoch: in so few epochs that is less than "
                    "computing %d versions of each image once", versions.count,
                )  # fmt: skip
            self.train[versions] = self._compute(net, device, "train", versions, places)
        return self.train[versions]

    def _val(self, net: Blocks, device: torch.device, planned: list[Start], epoch: int) -> dict[str, Held]:
        """The outputs of the validation images, in all places to come: computed in the first epoch."""
        if self.val is None:
            later = [Start(start.place, Versions(1)) for start in planned]
            places = worth_caching(later, epoch).get(Versions(1), [])
            self.val = self._compute(net, device, "val", Versions(1), places)
        return self.val

    def _compute(
        self, net: Blocks, device: torch.device, side: str, versions: Versions, places: list[str]
    ) -> dict[str, Held]:
        if not places:
            return {}
        trainer = self.config.trainer
        places = sorted(places, key=net.places.index)
        with self.watch.measure("prefix"):
            images = ImageSubset(self.data.inputs, getattr(self.data.split, side))
            blocks = FrozenBlocks(
                net, images, versions, device, trainer.of_frozen, trainer.progress, Shares.of_run()
            )
            held = activations(blocks, places, self.keeping)
        self.records += [{"of": side, **one.record()} for one in held.values()]
        return held

    def _let_go(self, net: Blocks, start: Start) -> None:
        """Places nearer to the head than this epoch's are of weights that change from now on."""
        kept = net.places[: net.places.index(start.place) + 1] if start.place else ()
        for known in (*self.train.values(), self.val or {}):
            for place in [place for place in known if place not in kept]:
                self.keeping.release(known.pop(place))
        for versions in [versions for versions in self.train if versions != start.versions]:
            for held in self.train.pop(versions).values():
                self.keeping.release(held)

    def _rows(self, held: Held, indices: Tensor) -> Rows:
        rows = torch.full((len(self.data.labels),), -1, dtype=torch.int64)
        rows[indices] = torch.arange(len(indices))
        return Rows(held.values, rows)
