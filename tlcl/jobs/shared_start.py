"""Trainings of parts of one network on parts of the same images, all from the same outputs of frozen blocks."""

import logging
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, BatchIndices, IndexedDataModule
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.splits import Split
from tlcl.data.versions import Versions
from tlcl.finetuning.class_weights import balanced_weights, evens_out
from tlcl.finetuning.fitted_head import FittedHead
from tlcl.finetuning.memory import step_bytes
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.thaw import Thaw, modes_for, set_trainable
from tlcl.finetuning.trainer import build_trainer, fit
from tlcl.models.blocks import Blocks
from tlcl.models.inference import in_batches
from tlcl.models.tail import Tail, last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations

log = logging.getLogger(__name__)


@dataclass
class SharedStart:
    """One network with its start weights, and what its blocks make of the images that are learned from.

    Args:
        images: those that are learned from or held out.
        labels: int64 (n,), theirs.
        classes: how many there are.

    Attributes:
        views: by place, `data.cached_views` versions of each image, the first the image itself; (n, V, ...).
    """

    config: Config
    net: Blocks
    images: ImageSubset
    labels: Tensor
    classes: int
    device: torch.device
    views: dict[str, Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = {key: value.clone() for key, value in self.net.state_dict().items()}
        self._pixels: Tensor | None = None

    def place(self, config: Config) -> str | None:
        """Up to which nothing trains with this config."""
        return last_frozen(self.net, config.schedule.trainable(0))

    def fill(self, configs: Sequence[Config], keeping: Keeping, places: Sequence[str] | None = None) -> list[str]:
        """Compute the views of each place that a training begins at, as far as memory goes, the last ones first.

        What is not kept is computed from images, with new crops in each epoch; so is everything with
        data.cache_prefix=off.

        Args:
            places: those that a part of the same race before this one kept; None: it is the first.

        Returns:
            The places that are kept.
        """
        versions = Versions.of(self.config.data, self.config.seed, cropped=True)
        if keeping.mode == "off" or versions is None:
            return []
        wanted = {place for config in configs if (place := self.place(config)) is not None}
        trainer = self.config.trainer
        blocks = FrozenBlocks(self.net, self.images, versions, self.device, trainer.of_frozen, trainer.progress)
        if places is None:
            places = [*wanted] if keeping.mode == "disk" else self._fitting(blocks, wanted, keeping)
        kept = sorted(places, key=self.net.places.index)
        mode = "disk" if keeping.mode == "disk" else "ram"
        self.views = activations(blocks, kept, replace(keeping, mode=mode, budget=sys.maxsize))
        return kept

    def _fitting(self, blocks: FrozenBlocks, wanted: Collection[str], keeping: Keeping) -> list[str]:
        room, chosen = keeping.budget, []
        for place in sorted(wanted, key=self.net.places.index, reverse=True):
            layout = blocks.layout(place, keeping.dtype)
            size = layout.count * layout.dtype.itemsize
            if size <= room:
                room -= size
                chosen.append(place)
            else:
                log.info(
                    "the outputs of %s, %.1f GiB, are not kept: more than is left of data.cache_gib; they are "
                    "computed in each training", place, size / 2**30,
                )  # fmt: skip
        return chosen

    def step_bytes(self, config: Config) -> int:
        """Of a training step with this config, beyond the weights; the network has its start weights then."""
        net, held = self.net, self.views.get(self.place(config) or "")
        net.load_state_dict(self._start)
        trainable = config.schedule.trainable(0)
        set_trainable(net, trainable, config.schedule.only)
        modes_for(net, trainable, True, statistics=config.optim.batch_norm == "train")
        rows = torch.arange(min(config.data.batch_size, len(self.labels)))
        inputs = self.images[rows] if held is None else held.version(0)[rows]
        place = None if held is None else held.place
        net.to(self.device)
        size = step_bytes(net, place, inputs.to(self.device), config.optim.name, config.trainer.precision)
        net.load_state_dict(self._start)
        return size

    def config_for(self, thaw: Mapping[str, object], images: int, steps: int) -> Config:
        """The config of a training of so many images: at least `steps` steps, and `trainer.epochs` epochs."""
        config = self.config
        an_epoch = len(BatchIndices(torch.arange(images), config.data.batch_size, shuffle=True))
        epochs = max(config.trainer.epochs, math.ceil(steps / max(1, an_epoch)))
        trainer = replace(config.trainer, epochs=epochs, progress=False)
        return replace(config, thaw=dict(thaw), trainer=trainer)

    def train(self, config: Config, rows: Tensor, head: FittedHead) -> None:
        """Train the network on some of the images, from the start weights with this head.

        Args:
            rows: int64 (m,), among the images.
        """
        net, place = self.net, self.place(config)
        net.load_state_dict(self._start)
        head.put_into(net.classifier)
        held = self.views.get(place or "")
        inputs = self._images() if held is None else held.values
        nothing = Split(train=rows, val=torch.empty(0, dtype=torch.int64))
        data = IndexedDataModule(
            inputs, self.labels, nothing, config.data, config.seed, versions=None if held is None else held.versions
        )
        weights = balanced_weights(self.labels[rows], self.classes) if evens_out(config) else None
        module = FinetuningModule(
            net, self.classes, config.optim, config.seed, config.trainer.log_every, config.data.mixup, weights
        )
        module.start = None if held is None else place
        with TemporaryDirectory() as folder:  # nothing is written; Lightning wants a place all the same
            trainer = build_trainer(
                config, Path(folder), [Thaw(config.schedule)], [], limit_val_batches=0,
                enable_checkpointing=False,
            )  # fmt: skip
            fit(trainer, module, data, None, Path(config.run_dir))
        net.to(self.device)

    def logits(self, config: Config, rows: Tensor) -> Tensor:
        """What the trained network answers about some of the images: float32 (m, K)."""
        held = self.views.get(self.place(config) or "")
        if held is None:
            return self.answers(config, None, self._images()[rows])
        return self.answers(config, held.place, held.version(0)[rows])

    def answers(self, config: Config, place: str | None, inputs: Tensor) -> Tensor:
        """Logits float32 (m, K) of images, or of what the network's blocks up to `place` make of them."""
        net = self.net.to(self.device).eval()
        rest: nn.Module = net
        if place is not None:
            rest = Tail(net, place, ndim=inputs.ndim, channels_last=config.trainer.channels_last).eval()
        precision = config.trainer.precision
        return in_batches(rest, inputs, batch_size=EVAL_BATCH, device=self.device, precision=precision)

    def _images(self) -> Tensor:
        if self._pixels is None:
            self._pixels = self.images[torch.arange(len(self.images))]
        return self._pixels
