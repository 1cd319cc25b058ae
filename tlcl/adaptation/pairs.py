"""Pairs of a source batch and a target batch whose labels are hidden."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tlcl.data.datamodule import Batch, BatchIndices, GatheredBatches, IndexedDataModule
from tlcl.errors import UserError
from tlcl.seeding import generator
from tlcl.system.figures import counted

HIDDEN = -1  # the label of a target image whose class is not known
SOURCE, TARGET = 0, 1  # places in `derive_seed` and among the domains


class Pair(NamedTuple):
    """What a step of domain adaptation gets; the target's labels are `HIDDEN` but for those that may be seen."""

    source: Batch
    target: Batch


def hide_labels(labels: Tensor, known: Tensor) -> Tensor:
    """`labels` (N,) where `known`, indices (n,), says so, elsewhere `HIDDEN`."""
    hidden = torch.full_like(labels, HIDDEN)
    hidden[known] = labels[known]
    return hidden


def choose_labelled(labels: Tensor, among: Tensor, per_class: int, classes: tuple[str, ...], seed: int) -> Tensor:
    """The first `per_class` images of each class in a random order of `among`: the few that are labelled.

    What a person does who is shown one image after another until each class has enough. The order depends on the
    seed and on the number of images alone; a smaller `per_class` gives a subset.

    Args:
        labels: int64 (N,).
        among: int64 (M,), indices that may be chosen.

    Returns:
        int64 (classes * per_class,), sorted.

    Raises:
        UserError: a class with fewer images.
    """
    order = among[torch.randperm(len(among), generator=generator(seed, "labelled"))]
    chosen = [order[labels[order] == label][:per_class] for label in range(len(classes))]
    for name, part in zip(classes, chosen, strict=True):
        if len(part) < per_class:
            raise UserError(
                f"adaptation.target_labels={per_class} is more than the {counted(len(part), 'image')} of class "
                f"{name!r} among the target's training images"
            )
    return torch.cat(chosen).sort().values


class TargetIndices:
    """Batches of target indices without end: one shuffled order after another, from (seed, epoch) alone.

    An order's remainder is filled up from the next, so that all batches have the same size: `batch_size`, or all
    images where there are fewer.
    """

    def __init__(self, indices: Tensor, batch_size: int, seed: int, stream: str) -> None:
        self.indices, self.seed, self.stream = indices, seed, stream
        self.size = min(batch_size, len(indices))

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Index tensors (size,) of an epoch."""
        waiting, cycle = self.indices[:0], 0
        while True:
            while len(waiting) < self.size:
                random = generator(self.seed, f"{self.stream}/{cycle}", task=TARGET, epoch=epoch)
                order = self.indices[torch.randperm(len(self.indices), generator=random)]
                waiting, cycle = torch.cat([waiting, order]), cycle + 1
            yield waiting[: self.size]
            waiting = waiting[self.size :]


class PairIndices(Sampler[tuple[Tensor, Tensor]]):
    """(source indices, target indices) of each step; an epoch is the source's.

    Args:
        targets: each gives a part of every target batch, one after the other.
    """

    def __init__(self, source: BatchIndices, targets: list[TargetIndices]) -> None:
        self.source, self.targets = source, targets

    def set_epoch(self, epoch: int) -> None:
        self.source.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts = [target.batches(self.source.epoch) for target in self.targets]
        for indices in self.source:
            yield indices, torch.cat([next(part) for part in parts])


class GatheredPairs(Dataset[Pair]):
    """Indexed by a pair of index tensors."""

    def __init__(self, source: GatheredBatches, target: GatheredBatches) -> None:
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: tuple[Tensor, Tensor]) -> Pair:
        return Pair(self.source[index[0]], self.target[index[1]])


class PairedDataModule(L.LightningDataModule):
    """Training batches are `Pair`s; validation has a loader of the source and one of the target, without labels.

    A target batch is `config.batch_size` of all the target's training images and, where some are labelled, as many
    of those (or all, if they are fewer) again; for a method that has no use for unlabelled images, the labelled
    ones alone.

    Args:
        source, target: the domains on their own, at the places `SOURCE` and `TARGET`; the target's labels hidden.
        known: int64, indices of the target's images whose label may be seen.
        unlabelled: whether images without a label are of use.
    """

    def __init__(
        self, source: IndexedDataModule, target: IndexedDataModule, known: Tensor, *, unlabelled: bool
    ) -> None:
        super().__init__()
        self.domains = (source, target)
        train, size, seed = target.split.train, target.config.batch_size, target.seed
        self.targets = [TargetIndices(train, size, seed, "order")] if unlabelled else []
        if len(known) and (not unlabelled or len(known) < len(train)):
            self.targets.append(TargetIndices(known, size, seed, "labelled"))

    @property
    def target_images(self) -> Tensor:
        """The target's training images, uint8 (M, C, H, W)."""
        target = self.domains[TARGET]
        return target.inputs[target.split.train]

    @property
    def validated(self) -> tuple[int, ...]:
        """The domains that have validation images."""
        return tuple(place for place in (SOURCE, TARGET) if len(self.domains[place].split.val))

    def _share_trainer(self) -> None:
        for domain in self.domains:
            domain.trainer = self.trainer

    def train_dataloader(self) -> "DataLoader[Pair]":
        self._share_trainer()
        source, target = (domain.train_dataloader() for domain in self.domains)
        order = PairIndices(source.sampler, self.targets)  # type: ignore[arg-type]
        pairs = GatheredPairs(source.dataset, target.dataset)  # type: ignore[arg-type]
        return DataLoader(pairs, batch_size=None, sampler=order, pin_memory=torch.cuda.is_available())

    def val_dataloader(self) -> "list[DataLoader[Batch]]":
        self._share_trainer()
        return [self.domains[place].val_dataloader() for place in self.validated]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment each domain by its own keys in training."""
        if not isinstance(batch, Pair):
            return batch
        source, target = (
            domain.on_after_batch_transfer(part, dataloader_idx)
            for domain, part in zip(self.domains, batch, strict=True)
        )
        return Pair(source, target)
