"""One DataModule for every source: batches gathered by index, augmented on the device, only in training."""

from collections.abc import Iterator
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tlcl.config import DataConfig
from tlcl.data.augment import random_crop, random_flip
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.splits import train_val_split
from tlcl.errors import UserError
from tlcl.seeding import generator


class Batch(NamedTuple):
    """images uint8 (B, C, H, W), labels int64 (B,), indices int64 (B,) into the split's ImageTensors."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class GatheredImages(Dataset[Batch]):
    """Indexed by a whole tensor of indices: one gather a batch instead of B reads and a collate."""

    def __init__(self, data: ImageTensors) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Tensor) -> Batch:
        return Batch(self.data.images[index], self.data.labels[index], index)


class BatchIndices(Sampler[Tensor]):
    """Index tensors of one batch each; shuffled anew each epoch from (seed, task, epoch), split among ranks.

    `set_epoch` is called by Lightning before each epoch. With several ranks each takes every world-th batch
    element of the same order; in training a remainder that cannot be shared equally is left out.
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
    ) -> None:
        self.indices, self.batch_size, self.shuffle = indices, batch_size, shuffle
        self.seed, self.task, self.rank, self.world = seed, task, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _share(self) -> Tensor:
        order = self.indices
        if self.shuffle:
            random = generator(self.seed, "order", task=self.task, epoch=self.epoch)
            order = order[torch.randperm(len(order), generator=random)]
            order = order[: len(order) - len(order) % self.world]
        return order[self.rank :: self.world]

    def _sizes(self) -> list[int]:
        count = len(range(self.rank, len(self.indices), self.world))
        if self.shuffle:
            count = len(self.indices) // self.world
        sizes = [self.batch_size] * (count // self.batch_size)
        rest = count % self.batch_size
        # BatchNorm cannot train on a batch of one image, so a lone last one sits this epoch out.
        if rest > 1 or (rest == 1 and not self.shuffle):
            sizes.append(rest)
        return sizes

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[Tensor]:
        start, order = 0, self._share()
        for size in self._sizes():
            yield order[start : start + size]
            start += size


def index_loader(data: ImageTensors, sampler: BatchIndices, pin_memory: bool = False) -> "DataLoader[Batch]":
    """A DataLoader whose items are whole batches."""
    return DataLoader(GatheredImages(data), batch_size=None, sampler=sampler, pin_memory=pin_memory)


class ImageDataModule(L.LightningDataModule):
    """Train, validation and test loaders over a `Source`.

    Args:
        source: the decoded data.
        config: batch size, split sizes and augmentation.
        seed: seed of the run; the split, the order and the augmentation follow from it.
    """

    def __init__(self, source: Source, config: DataConfig, seed: int) -> None:
        super().__init__()
        self.source, self.config, self.seed = source, config, seed
        self.split = train_val_split(
            source.pool.labels, train_size=config.train_size, val_size=config.val_size, seed=seed
        )
        height, width = source.pool.images.shape[2:]
        if config.crop_padding >= min(height, width):
            raise UserError(
                f"data.crop_padding={config.crop_padding} must be smaller than the images ({height}x{width})"
            )
        self._random: tuple[tuple[int, str], torch.Generator] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.pool.classes

    def _loader(self, indices: Tensor, *, shuffle: bool) -> "DataLoader[Batch]":
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        sampler = BatchIndices(
            indices, self.config.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, world=world
        )
        return index_loader(self.source.pool, sampler, pin_memory=torch.cuda.is_available())

    def train_dataloader(self) -> "DataLoader[Batch]":
        self._random = None  # a new fit draws its epoch anew, also when it is the epoch the last one ended in
        return self._loader(self.split.train, shuffle=True)

    def val_dataloader(self) -> "DataLoader[Batch]":
        return self._loader(self.split.val, shuffle=False)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment, on the device, while the trainer trains; validation sees the images as they are."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return batch._replace(images=self.augment(batch.images, self.trainer.current_epoch))

    def augment(self, images: Tensor, epoch: int) -> Tensor:
        """Random crop and flip, from a generator that starts anew each epoch."""
        device = images.device
        if self._random is None or self._random[0] != (epoch, str(device)):
            rank = self.trainer.global_rank if self.trainer else 0
            fresh = generator(self.seed, "augment", epoch=epoch, rank=rank, device=device)
            self._random = ((epoch, str(device)), fresh)
        random = self._random[1]
        images = random_crop(images, self.config.crop_padding, random)
        return random_flip(images, random) if self.config.flip else images
