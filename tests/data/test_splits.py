"""Stratified, seeded, nested splits."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tlcl.data.splits import stratified_order, train_val_split
from tlcl.errors import UserError
from tlcl.seeding import derive_seed

COUNTS = {
    "equal": [20] * 10,
    "digits": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    "two": [180, 20],
    "long tail": [200, 100, 50, 20, 10, 5, 1],
    "one large, many single": [300] + [1] * 30,
    "one class": [12],
}


def mixed(counts: list[int], seed: int = 0) -> Tensor:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("seed", range(3))
def test_every_prefix_is_within_one_of_proportion(counts: list[int], seed: int) -> None:
    labels = mixed(counts)
    order = stratified_order(labels, seed, "test")
    assert torch.equal(order.sort().values, torch.arange(len(labels)))
    held = torch.nn.functional.one_hot(labels[order], len(counts)).double().cumsum(0)
    due = torch.arange(1, len(labels) + 1)[:, None] * torch.tensor(counts).double() / len(labels)
    assert (held - due).abs().max() < 1


def test_members_of_a_class_come_in_random_order() -> None:
    """Each of the 8 images of class 0 is its first one about equally often: chi-squared, 7 degrees of freedom."""
    labels = mixed([8, 8])
    members = (labels == 0).nonzero().squeeze(1)
    first = torch.zeros(len(labels))
    for seed in range(800):
        order = stratified_order(labels, seed, "test")
        first[order[labels[order] == 0][0]] += 1
    statistic = ((first[members] - 100) ** 2 / 100).sum()
    assert statistic < 29.9  # p = 0.0001


def test_classes_take_turns_in_a_random_order() -> None:
    labels = mixed([5, 5, 5])
    starts = {int(labels[stratified_order(labels, seed, "test")[0]]) for seed in range(30)}
    assert starts == {0, 1, 2}


def test_order_depends_on_seed_and_stream_alone() -> None:
    labels = mixed([30, 20, 10])
    order = stratified_order(labels, 1, "a")
    assert torch.equal(order, stratified_order(labels, 1, "a"))
    assert not torch.equal(order, stratified_order(labels, 2, "a"))
    assert not torch.equal(order, stratified_order(labels, 1, "b"))


def test_order_ignores_the_global_generator() -> None:
    labels = mixed([30, 20])
    torch.manual_seed(1)
    order, state = stratified_order(labels, 0, "a"), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(order, stratified_order(labels, 0, "a"))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(4))
def test_train_and_val_are_disjoint_and_complete(seed: int) -> None:
    labels = mixed([70, 50, 30])
    split = train_val_split(labels, train_size=None, val_size=40, seed=seed)
    assert len(split.val) == 40
    assert torch.equal(torch.cat([split.train, split.val]).sort().values, torch.arange(150))


def test_larger_training_sets_hold_the_smaller_ones_and_share_val() -> None:
    labels = mixed([70, 50, 30])
    splits = [train_val_split(labels, train_size=size, val_size=30, seed=5) for size in (3, 10, 47, 120)]
    assert [len(split.train) for split in splits] == [3, 10, 47, 120]
    for small, large in pairwise(splits):
        assert set(small.train.tolist()) < set(large.train.tolist())
        assert torch.equal(small.val, large.val)


def test_both_parts_are_stratified() -> None:
    labels = mixed([70, 50, 30])
    split = train_val_split(labels, train_size=60, val_size=30, seed=2)
    val = torch.bincount(labels[split.val])
    assert (val - torch.tensor([14, 10, 6])).abs().max() < 1
    rest = torch.tensor([70, 50, 30]) - val
    assert (torch.bincount(labels[split.train]) - 60 * rest / 120).abs().max() < 1


def test_split_is_reproducible_and_differs_between_seeds() -> None:
    labels = mixed([70, 50, 30])
    first, again, other = (train_val_split(labels, train_size=60, val_size=30, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.val, again.val)
    assert not torch.equal(first.train, other.train)
    assert not torch.equal(first.val, other.val)


def test_val_defaults_to_a_tenth_but_one_for_each_class() -> None:
    assert len(train_val_split(mixed([70, 50, 30]), train_size=None, val_size=None, seed=0).val) == 15
    small = mixed([4] * 5)
    assert sorted(small[train_val_split(small, train_size=None, val_size=None, seed=0).val]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("train_size", "val_size", "named"),
    [(None, 60, "data.val_size=60"), (51, 10, "data.train_size=51"), (2, 10, "data.train_size=2")],
)
def test_sizes_that_the_pool_cannot_give(train_size: int | None, val_size: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        train_val_split(mixed([20] * 3), train_size=train_size, val_size=val_size, seed=0)


def test_too_few_images_are_told_without_keys_that_nobody_gave() -> None:
    for counts, words in (([2, 1], "2 of them validate, leaving 1 to train on for 2 classes"),
                          ([1, 1], "as many validate, leaving none to train on")):  # fmt: skip
        with pytest.raises(UserError) as caught:
            train_val_split(mixed(counts), train_size=None, val_size=None, seed=0)
        told = f"{sum(counts)} images to learn from are too few: {words}; add images of each class"
        assert str(caught.value) == told
    with pytest.raises(UserError, match=r"^1 image to learn from is too few: "):
        train_val_split(mixed([1]), train_size=None, val_size=None, seed=0)


def test_a_validation_size_that_somebody_gave_is_named() -> None:
    with pytest.raises(UserError, match=r"leaving 1 to train on .*; lower data\.val_size=3, or"):
        train_val_split(mixed([2, 2]), train_size=None, val_size=3, seed=0)


def test_derived_seeds_are_distinct_in_every_argument() -> None:
    seeds = {
        derive_seed(seed, stream, task=task, epoch=epoch, rank=rank)
        for seed in range(3)
        for stream in ("a", "b")
        for task in range(3)
        for epoch in range(3)
        for rank in range(3)
    }
    assert len(seeds) == 2 * 3**4
    assert all(0 <= seed < 2**63 for seed in seeds)
