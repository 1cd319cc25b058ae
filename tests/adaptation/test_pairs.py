"""Paired batches: what is hidden, how the target's order goes on, what a labelled few means."""

import pytest
import torch

from tlcl.adaptation.pairs import (
    HIDDEN,
    SOURCE,
    TARGET,
    PairedDataModule,
    TargetIndices,
    choose_labelled,
    hide_labels,
)
from tlcl.data.datamodule import IndexedDataModule
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.splits import Split, unlabelled_split
from tlcl.errors import UserError

CLASSES = ("a", "b", "c")


def test_hidden_labels_are_all_but_the_known() -> None:
    hidden = hide_labels(torch.tensor([2, 1, 0, 1]), torch.tensor([1, 2]))
    assert hidden.tolist() == [HIDDEN, 1, 0, HIDDEN]


def test_the_labelled_few_are_so_many_a_class_and_nest() -> None:
    labels = torch.arange(60) % 3
    among = torch.arange(5, 50)
    three = choose_labelled(labels, among, 3, CLASSES, seed=1)
    assert labels[three].bincount().tolist() == [3, 3, 3]
    assert set(three.tolist()) <= set(among.tolist())
    assert set(choose_labelled(labels, among, 2, CLASSES, seed=1).tolist()) < set(three.tolist())
    assert not torch.equal(three, choose_labelled(labels, among, 3, CLASSES, seed=2))
    with pytest.raises(UserError, match=r"adaptation.target_labels=9 .* 4 images of class 'c'"):
        choose_labelled(torch.tensor([0] * 9 + [1] * 9 + [2] * 4), torch.arange(22), 9, CLASSES, seed=1)


def test_target_batches_go_on_without_end_in_equal_sizes() -> None:
    indices = torch.arange(100, 110)
    target = TargetIndices(indices, 4, seed=0, stream="order")
    batches = target.batches(epoch=2)
    first = torch.cat([next(batches) for _ in range(5)])
    # Two whole orders of the ten, one after the other.
    assert sorted(first[:10].tolist()) == sorted(first[10:].tolist()) == indices.tolist()
    assert not torch.equal(first[:10], first[10:])
    again, other = target.batches(epoch=2), target.batches(epoch=3)
    assert torch.equal(next(again), first[:4])
    assert not torch.equal(next(other), first[:4])
    assert TargetIndices(indices, 64, seed=0, stream="order").size == 10


def test_the_target_is_split_without_a_look_at_labels() -> None:
    split = unlabelled_split(50, train_size=None, val_size=None, seed=0)
    assert sorted([*split.train.tolist(), *split.val.tolist()]) == list(range(50))
    assert len(split.val) == 5
    smaller = unlabelled_split(50, train_size=20, val_size=5, seed=0)
    assert torch.equal(smaller.val, split.val)
    assert set(smaller.train.tolist()) < set(split.train.tolist())
    for sizes in ({"train_size": 46, "val_size": 5}, {"train_size": None, "val_size": 49}):
        with pytest.raises(UserError, match=r"data.train_size.*data.val_size.*50"):
            unlabelled_split(50, seed=0, **sizes)


def pairs(known: list[int], *, unlabelled: bool) -> PairedDataModule:
    """30 source images with labels 0..2, 40 target images of another size and depth, 8 a batch."""
    config = DigitsConfig("digits", batch_size=8)
    images = torch.arange(30, dtype=torch.uint8).view(30, 1, 1, 1).expand(30, 1, 4, 4).contiguous()
    source = IndexedDataModule(
        images, torch.arange(30) % 3, Split(torch.arange(24), torch.arange(24, 30)), config, 0, SOURCE
    )
    labels = hide_labels(torch.arange(40) % 3, torch.tensor(known, dtype=torch.int64))
    plain = torch.zeros((40, 3, 6, 6), dtype=torch.uint8)
    target = IndexedDataModule(plain, labels, Split(torch.arange(36), torch.arange(36, 40)), config, 0, TARGET)
    return PairedDataModule(source, target, torch.tensor(known, dtype=torch.int64), unlabelled=unlabelled)


def test_an_epoch_is_the_sources_and_shows_no_target_label() -> None:
    data = pairs([], unlabelled=True)
    batches = list(data.train_dataloader())
    assert sorted(torch.cat([batch.source.indices for batch in batches]).tolist()) == list(range(24))
    for batch in batches:
        assert torch.equal(batch.source.labels, batch.source.indices % 3)
        assert torch.equal(batch.source.images[:, 0, 0, 0].long(), batch.source.indices)
        assert batch.target.images.shape == (8, 3, 6, 6)
        assert batch.target.labels.tolist() == [HIDDEN] * 8
    source, target = data.val_dataloader()
    assert next(iter(target)).labels.tolist() == [HIDDEN] * 4
    assert next(iter(source)).labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_labelled_target_images_join_each_batch_or_are_all_of_it() -> None:
    for batch in pairs([3, 4, 5], unlabelled=True).train_dataloader():
        assert len(batch.target.labels) == 8 + 3
        assert sorted(batch.target.labels[8:].tolist()) == [0, 1, 2]
    for batch in pairs([3, 4, 5], unlabelled=False).train_dataloader():
        assert sorted(batch.target.indices.tolist()) == [3, 4, 5]
    # Where all are labelled they are not drawn twice.
    for batch in pairs(list(range(36)), unlabelled=True).train_dataloader():
        assert len(batch.target.labels) == 8
        assert int(batch.target.labels.min()) >= 0
