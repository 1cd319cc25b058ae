"""Balanced batches: each class equally likely, every image of a small class, the same on every resume and rank."""

import pytest
import torch

from tests.data.test_datamodule import epoch_of
from tlcl.data.balanced_batches import evened_order
from tlcl.data.datamodule import BatchIndices
from tlcl.seeding import generator

LABELS = torch.tensor([2] * 80 + [0] * 12 + [5] * 4)


def test_every_k_places_in_a_row_hold_each_class_once() -> None:
    order = evened_order(LABELS, generator(0, "order"))
    assert len(order) == len(LABELS)
    assert all(set(LABELS[three].tolist()) == {0, 2, 5} for three in order.view(-1, 3))
    # In no fixed place among them.
    for label in (0, 2, 5):
        places = (LABELS[order].view(-1, 3) == label).nonzero()[:, 1]
        assert all(3 <= int((places == place).sum()) <= 22 for place in range(3))


def test_no_image_comes_again_before_all_of_its_class_have_come() -> None:
    order = evened_order(LABELS, generator(0, "order"))
    for label, count in ((0, 12), (5, 4), (2, 80)):
        theirs = order[LABELS[order] == label].tolist()
        assert len(theirs) == 32
        for at in range(0, 32, count):
            part = theirs[at : at + count]
            assert len(set(part)) == len(part)


def sampler(rank: int = 0, world: int = 1, balanced: bool = True) -> BatchIndices:
    labels = LABELS if balanced else None
    indices = torch.arange(1000, 1000 + len(LABELS))
    return BatchIndices(indices, 8, shuffle=True, seed=3, rank=rank, world=world, labels=labels)


def test_steps_stay_and_the_order_is_of_the_epoch() -> None:
    ours, theirs = sampler(), sampler(balanced=False)
    assert [len(batch) for batch in epoch_of(ours, 0)] == [len(batch) for batch in epoch_of(theirs, 0)]
    first, second = (torch.cat(epoch_of(ours, epoch)) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat(epoch_of(sampler(), 1)), second)
    # Over the epochs every image of the large class has its turn.
    seen = torch.cat([torch.cat(epoch_of(ours, epoch)) for epoch in range(20)])
    assert set((seen - 1000).tolist()) == set(range(len(LABELS)))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_one_order_and_each_sees_all_classes_alike(world: int) -> None:
    whole = torch.cat(epoch_of(sampler(), 0))
    shares = [torch.cat(epoch_of(sampler(rank, world), 0)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    for rank, share in enumerate(shares):
        assert torch.equal(share, whole[: len(whole) - len(whole) % world][rank::world])
        counts = torch.bincount(LABELS[share - 1000])[[0, 2, 5]]
        assert int(counts.min()) > len(share) / 6
