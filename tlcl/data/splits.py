"""Stratified, seeded, nested splits as index tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tlcl.errors import UserError
from tlcl.seeding import generator


def stratified_order(labels: Tensor, seed: int, stream: str) -> Tensor:
    """A random order of all indices whose every prefix has the classes in proportion.

    The k-th image of a shuffled class of n sorts at (k + u) / n with one u per class, so that any prefix of
    length m holds within one of m * n / N of each class. Prefixes nest: a larger subset contains a smaller one.

    Args:
        labels: int64 (N,).

    Returns:
        int64 (N,), a permutation.
    """
    random = generator(seed, stream)
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique(sorted=True):
        members = (labels == label).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=random)]
        # One offset per class: equal classes take turns in a random order instead of a sorted one.
        offset = torch.rand(1, generator=random, dtype=torch.float64)
        steps = torch.arange(len(members), dtype=torch.float64)
        position[shuffled] = (steps + offset) / len(members)
    return position.argsort(stable=True)


@dataclass(frozen=True)
class Split:
    """Indices over the pool; disjoint."""

    train: Tensor
    val: Tensor


def train_val_split(labels: Tensor, *, train_size: int | None, val_size: int | None, seed: int) -> Split:
    """Hold out `val_size` images (null: a tenth), then take `train_size` of the rest (null: all).

    The validation images depend on `seed` alone, not on `train_size`, so a sweep over sizes shares them.

    Raises:
        UserError: sizes that the pool cannot give, or smaller than the number of classes.
    """
    total, classes = len(labels), len(labels.unique())
    held_out = max(classes, total // 10) if val_size is None else val_size
    if held_out >= total:
        raise UserError(f"data.val_size={held_out} leaves nothing of the {total} images to train on")
    order = stratified_order(labels, seed, "split/val")
    val, rest = order[:held_out].sort().values, order[held_out:].sort().values
    wanted = len(rest) if train_size is None else train_size
    if wanted > len(rest):
        raise UserError(
            f"data.train_size={wanted} is more than the {len(rest)} images that "
            f"data.val_size={held_out} leaves of {total}"
        )
    if wanted < classes:
        raise UserError(f"data.train_size={wanted} is less than one image for each of the {classes} classes")
    chosen = rest[stratified_order(labels[rest], seed, "split/train")[:wanted]]
    return Split(train=chosen.sort().values, val=val)
