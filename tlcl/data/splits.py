"""Stratified, seeded, nested splits as index tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import torch
from torch import Tensor

from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import Source
from tlcl.errors import UserError
from tlcl.seeding import generator
from tlcl.system.figures import counted


def stratified_order(labels: Tensor, seed: int, stream: str) -> Tensor:
    """A random order of all indices whose every prefix has the classes in proportion.

    Any prefix of length m holds less than one image more or fewer than m * n / N of a class of n. That gives the
    k-th image of a class a first and a last place, and taking the most urgent one that may come next keeps
    them all (Steiner & Yeomans 1993, "Level schedules for mixed-model, just-in-time processes").
    Prefixes nest: a larger subset contains a smaller one.

    Args:
        labels: int64 (N,).

    Returns:
        int64 (N,), a permutation.
    """
    random, total = generator(seed, stream), len(labels)
    places: list[tuple[int, int, float, int]] = []  # first place, last place, turn, index
    for label in labels.unique(sorted=True):
        members = (labels == label).nonzero().squeeze(1)
        count = len(members)
        shuffled = members[torch.randperm(count, generator=random)].tolist()
        # One number per class: equal classes take turns in a random order instead of a sorted one.
        turn = torch.rand(1, generator=random, dtype=torch.float64).item()
        places += [
            (k * total // count, -(-(k + 1) * total // count), turn, index) for k, index in enumerate(shuffled)
        ]
    places.sort(reverse=True)
    waiting: list[tuple[int, float, int]] = []
    order: list[int] = []
    for place in range(total):
        while places and places[-1][0] <= place:
            heappush(waiting, places.pop()[1:])
        order.append(heappop(waiting)[-1])
    return torch.tensor(order, dtype=torch.int64)


@dataclass(frozen=True)
class Split:
    """Indices over the pool; disjoint."""

    train: Tensor
    val: Tensor


def unlabelled_split(total: int, *, train_size: int | None, val_size: int | None, seed: int) -> Split:
    """As `train_val_split`, without a look at labels: of `total` images in a random order.

    Raises:
        UserError: sizes that the pool cannot give.
    """
    held_out = total // 10 if val_size is None else val_size
    wanted = total - held_out if train_size is None else train_size
    if wanted < 2 or held_out + wanted > total:
        raise UserError(
            f"data.train_size={train_size} and data.val_size={val_size} do not fit the target's {total} images, "
            "of which at least 2 must be left to train on"
        )
    order = torch.randperm(total, generator=generator(seed, "split/target"))
    return Split(train=order[held_out : held_out + wanted].sort().values, val=order[:held_out].sort().values)


def _learnt(total: int) -> str:
    return f"{counted(total, 'image')} to learn from {'is' if total == 1 else 'are'}"


def train_val_split(
    labels: Tensor,
    *,
    train_size: int | None,
    val_size: int | None,
    seed: int,
    classes: Sequence[str] = (),
    val: Tensor | None = None,
) -> Split:
    """Hold out `val_size` images (null: a tenth), then take `train_size` of the rest (null: all).

    The validation images depend on `seed` alone, not on `train_size`, so a sweep over sizes shares them.

    Args:
        classes: names by label, each of which needs an image to train on; none: that is not asked.
        val: the images that alone may be held out, and are never trained on; of them `val_size` (null: all) are.

    Raises:
        UserError: sizes that the pool cannot give, or smaller than the number of classes; a class without an image
            to train on.
    """
    total, present = len(labels), len(labels.unique())
    if val is None:
        held_out = max(present, total // 10) if val_size is None else val_size
        if held_out >= total and val_size is None:
            raise UserError(
                f"{_learnt(total)} too few: as many validate, leaving none to train on; add images of each class"
            )
        if held_out >= total:
            raise UserError(f"data.val_size={held_out} leaves nothing of the {counted(total, 'image')} to train on")
        order = stratified_order(labels, seed, "split/val")
        chosen_val, rest = order[:held_out].sort().values, order[held_out:].sort().values
    else:
        held_out = len(val) if val_size is None else val_size
        if held_out > len(val):
            raise UserError(f"data.val_size={held_out} is more than the {counted(len(val), 'image')} of data.val")
        chosen_val = val[stratified_order(labels[val], seed, "split/val")[:held_out]].sort().values
        apart = torch.ones(total, dtype=torch.bool)
        apart[val] = False
        rest = apart.nonzero().squeeze(1)
    wanted = len(rest) if train_size is None else train_size
    if wanted > len(rest):
        raise UserError(
            f"data.train_size={wanted} is more than the {counted(len(rest), 'image')} that "
            f"data.val_size={held_out} leaves of {total:,}"
        )
    if train_size is None and wanted < present:
        lower = "" if val_size is None or val is not None else f"lower data.val_size={val_size}, or "
        raise UserError(
            f"{_learnt(total)} too few: {held_out} of them validate, leaving {wanted} to train on for "
            f"{counted(present, 'class', 'classes')}; {lower}add images of each class"
        )
    if wanted < present:
        raise UserError(f"data.train_size={wanted} is less than one image for each of the {present} classes")
    chosen = rest[stratified_order(labels[rest], seed, "split/train")[:wanted]]
    trained = torch.bincount(labels[chosen], minlength=len(classes))
    for label, name in enumerate(classes):
        if not trained[label]:
            raise UserError(
                f"the class {name!r} has no training image: of the {counted(total, 'image')} to learn from "
                f"{int((labels == label).sum())} are of it, and data.train_size={train_size or 'null'} and "
                f"data.val_size={held_out} leave it none; raise data.train_size, lower data.val_size, or add "
                "images of it"
            )
    return Split(train=chosen.sort().values, val=chosen_val)


def split_of(source: Source, config: DataConfig, seed: int) -> Split:
    """How a run with this config and seed splits the pool.

    Raises:
        UserError: see `train_val_split`.
    """
    sizes = {"train_size": config.train_size, "val_size": config.val_size}
    return train_val_split(source.pool.labels, **sizes, seed=seed, classes=source.pool.classes, val=source.val)
