"""One DataModule for every source: batches gathered by index, augmented on the device, only in training."""

from collections.abc import Iterator
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tlcl.config.schema import DataConfig
from tlcl.data.augment import random_flip, random_version
from tlcl.data.balanced_batches import evened_order
from tlcl.data.image_tensors import Source
from tlcl.data.splits import Split, split_of
from tlcl.data.versions import Crops
from tlcl.errors import UserError
from tlcl.seeding import generator
from tlcl.system.figures import counted

EVAL_BATCH = 256  # images of a batch that is not trained on, at least


class Batch(NamedTuple):
    """What a step gets.

    Attributes:
        images: as the network sees them, augmented in training: uint8 (B, C, H, W), or activations (B, ...).
        labels: int64 (B,).
        indices: int64 (B,), into the pool.
        raw: as they are stored, before augmentation: what a rehearsal buffer keeps. Known on the device only, so
            that images are moved there once.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    raw: Tensor | None = None


class Rows(NamedTuple):
    """Inputs of images of the pool.

    Attributes:
        inputs: (n, ...).
        rows: int64 (N,), where each image of the pool is among them; None: at its own index.
    """

    inputs: Tensor
    rows: Tensor | None = None

    def take(self, index: Tensor) -> Tensor:
        """Of the pool's images `index` (B,): (B, ...)."""
        return self.inputs[index if self.rows is None else self.rows[index]]


class GatheredBatches(Dataset[Batch]):
    """Indexed by a whole tensor of indices: one gather a batch instead of B reads and a collate."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.served, self.labels = Rows(inputs), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Batch:
        return Batch(self.served.take(index), self.labels[index], index)


class BatchIndices(Sampler[Tensor]):
    """Index tensors of one batch each; shuffled anew each epoch from (seed, task, epoch), split among ranks.

    `set_epoch` is called by Lightning before each epoch. With several ranks each takes every world-th image of the
    same order. Validation has every image once, so that some ranks may have one image more. In training all ranks
    take equal steps: the images that cannot be shared equally, fewer than there are ranks and others in each epoch,
    are left out. A last batch smaller than a quarter joins the one before it: BatchNorm cannot learn from a few
    images.

    Args:
        labels: of the indices, int64 (N,): each class is equally likely in a training batch, in as many steps; see
            `evened_order`. None: every index once.
    """

    def __init__(
        self,
        indices: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        task: int = 0,
        rank: int = 0,
        world: int = 1,
        labels: Tensor | None = None,
    ) -> None:
        self.labels = labels
        self.indices, self.batch_size, self.shuffle = indices, batch_size, shuffle
        self.seed, self.task, self.rank, self.world = seed, task, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _share(self) -> Tensor:
        order = self.indices
        if self.shuffle:
            random = generator(self.seed, "order", task=self.task, epoch=self.epoch)
            drawn = torch.randperm(len(order), generator=random)
            order = order[drawn if self.labels is None else evened_order(self.labels, random)]
            order = order[: len(order) - len(order) % self.world]
        return order[self.rank :: self.world]

    def _sizes(self) -> list[int]:
        count = len(range(self.rank, len(self.indices), self.world))
        if self.shuffle:
            count = len(self.indices) // self.world
        whole, rest = divmod(count, self.batch_size)
        sizes = [self.batch_size] * whole
        if sizes and (rest == 1 or 4 * rest < self.batch_size):
            sizes[-1] += rest
        elif rest:
            sizes.append(rest)
        return sizes

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[Tensor]:
        start, order = 0, self._share()
        for size in self._sizes():
            yield order[start : start + size]
            start += size


class IndexedDataModule(L.LightningDataModule):
    """Train and validation loaders over tensors in memory, with augmentation on the device in training.

    Args:
        inputs: uint8 images (N, C, H, W), or what frozen blocks made of them, see `versions`.
        labels: int64 (N,).
        split: training and validation indices.
        config: batch size and augmentation.
        seed: seed of the run; the order and the augmentation follow from it and from `task`.
        task: place in a continual stream.
        versions: None for images, which are cropped and flipped anew each time; V when `inputs` are activations:
            (N, ...) for V = 1, which are used as they are, else (N, V, ...), of which training draws one.

    Raises:
        UserError: a crop as large as the images.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        split: Split,
        config: DataConfig,
        seed: int,
        task: int = 0,
        versions: int | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.labels, self.split = inputs, labels, split
        self.config, self.seed, self.task = config, seed, task
        if versions is None and config.crop_padding >= min(inputs.shape[2:]):
            height, width = inputs.shape[2:]
            raise UserError(
                f"data.crop_padding={config.crop_padding} must be smaller than the images ({height}x{width})"
            )
        self.crops, self.cropped = Crops.of(config), True  # `cropped` is for a callback to change
        self._random: tuple[tuple[int, str], torch.Generator] | None = None
        self._train, self._val = GatheredBatches(inputs, labels), GatheredBatches(inputs, labels)
        self._versions = versions

    def serve(self, train: Rows, val: Rows, versions: int | None) -> None:
        """From the next epoch on, batches of these inputs; validation's have one version alone."""
        self._train.served, self._val.served, self._versions = train, val, versions

    @property
    def served_for_validation(self) -> Rows:
        return self._val.served

    def _loader(
        self, batches: GatheredBatches, indices: Tensor, batch_size: int, *, shuffle: bool
    ) -> "DataLoader[Batch]":
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        least = 2 * world if shuffle else world  # BatchNorm cannot train on a batch of one
        if world > 1 and len(indices) < least:
            kind = "training" if shuffle else "validation"
            raise UserError(
                f"{counted(len(indices), f'{kind} image')} cannot be shared by {world} processes, which need at "
                f"least {least}; set a smaller trainer.devices"
            )
        sampler = BatchIndices(
            indices, batch_size, shuffle=shuffle, seed=self.seed, task=self.task, rank=rank, world=world,
            labels=self.labels[indices] if shuffle and self.config.balanced_batches else None,
        )  # fmt: skip
        return DataLoader(batches, batch_size=None, sampler=sampler, pin_memory=torch.cuda.is_available())

    def train_dataloader(self) -> "DataLoader[Batch]":
        self._random = None  # a new fit draws its epoch anew, also when it is the epoch the last one ended in
        return self._loader(self._train, self.split.train, self.config.batch_size, shuffle=True)

    def val_dataloader(self) -> "DataLoader[Batch]":
        return self._loader(self._val, self.split.val, max(EVAL_BATCH, self.config.batch_size), shuffle=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment, on the device, while the trainer trains; validation sees the images as they are."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return batch._replace(images=self.augment(batch.images), raw=batch.images)

    def augment(self, inputs: Tensor) -> Tensor:
        """Random crop and flip, or a random version, from a generator that starts anew in each epoch."""
        if self._versions == 1:
            return inputs
        epoch, rank = (self.trainer.current_epoch, self.trainer.global_rank) if self.trainer else (0, 0)
        device = inputs.device
        if self._random is None or self._random[0] != (epoch, str(device)):
            fresh = generator(self.seed, "augment", task=self.task, epoch=epoch, rank=rank, device=device)
            self._random = ((epoch, str(device)), fresh)
        random = self._random[1]
        if self._versions is not None:
            return random_version(inputs, random)
        images = self.crops.draw(inputs, random) if self.cropped else inputs
        return random_flip(images, random) if self.config.flip else images


class ImageDataModule(IndexedDataModule):
    """The whole pool of a `Source`, split by the config's sizes and the seed."""

    def __init__(self, source: Source, config: DataConfig, seed: int) -> None:
        super().__init__(source.pool.images, source.pool.labels, split_of(source, config, seed), config, seed)
        self.source = source

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.pool.classes
