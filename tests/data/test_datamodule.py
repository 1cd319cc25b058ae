"""Every index once an epoch, seeded order, no leak, augmentation in training only."""

from itertools import pairwise
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import Tensor

from tests.data.conftest import tensors, tiny_module
from tlcl.data.datamodule import Batch, BatchIndices, GatheredBatches, ImageDataModule
from tlcl.errors import UserError


def epoch_of(sampler: BatchIndices, epoch: int) -> list[Tensor]:
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize(
    ("count", "last"), [(64, 8), (70, 6), (67, 3), (66, 2), (65, 9), (81, 9), (3, 3), (8, 8), (9, 9)]
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_epoch_covers_every_index_once_and_no_batch_is_tiny(count: int, last: int, shuffle: bool) -> None:
    """BatchNorm cannot learn from a few images: a rest below a quarter joins the batch before it."""
    indices = torch.arange(100, 100 + count)
    sampler = BatchIndices(indices, 8, shuffle=shuffle, seed=1)
    for epoch in range(3):
        batches = epoch_of(sampler, epoch)
        seen = torch.cat(batches).tolist()
        assert sorted(seen) == indices.tolist()
        assert len(batches) == len(sampler)
        assert all(len(batch) == 8 for batch in batches[:-1])
        assert len(batches[-1]) == last


def test_a_lone_last_image_joins_even_pairs() -> None:
    assert [len(batch) for batch in epoch_of(BatchIndices(torch.arange(7), 2, shuffle=True), 0)] == [2, 2, 3]


def test_evaluation_covers_every_index_in_order() -> None:
    sampler = BatchIndices(torch.arange(65), 8, shuffle=False)
    batches = epoch_of(sampler, 3)
    assert torch.equal(torch.cat(batches), torch.arange(65))
    assert len(batches) == len(sampler) == 8


def test_order_is_a_function_of_seed_task_and_epoch() -> None:
    def order(seed: int, task: int, epoch: int) -> tuple[int, ...]:
        sampler = BatchIndices(torch.arange(50), 8, shuffle=True, seed=seed, task=task)
        torch.manual_seed(torch.seed())
        return tuple(torch.cat(epoch_of(sampler, epoch)).tolist())

    keys = [(seed, task, epoch) for seed in (0, 1) for task in (0, 1) for epoch in (0, 1, 2)]
    orders = [order(*key) for key in keys]
    assert orders == [order(*key) for key in keys]
    assert len(set(orders)) == len(keys)
    assert all(first != tuple(range(50)) for first in orders)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("count", [60, 61])
def test_ranks_partition_the_order(world: int, count: int) -> None:
    def shares(shuffle: bool) -> list[list[Tensor]]:
        samplers = [
            BatchIndices(torch.arange(count), 4, shuffle=shuffle, seed=2, rank=rank, world=world)
            for rank in range(world)
        ]
        return [epoch_of(sampler, 1) for sampler in samplers]

    training = shares(True)
    assert len({tuple(len(batch) for batch in share) for share in training}) == 1  # ranks stay in step
    whole = torch.cat(epoch_of(BatchIndices(torch.arange(count), count, shuffle=True, seed=2), 1)).tolist()
    seen = [index for share in training for batch in share for index in batch.tolist()]
    assert len(seen) == len(set(seen))
    for rank, share in enumerate(training):
        mine = torch.cat(share).tolist()
        assert mine == whole[rank::world][: len(mine)]
        assert len(mine) in (count // world, count // world - 1)
    evaluated = [index for share in shares(False) for batch in share for index in batch.tolist()]
    assert sorted(evaluated) == list(range(count))


def test_batches_are_gathered_uint8_with_their_indices() -> None:
    data = tensors(10)
    gathered = GatheredBatches(data.images, data.labels)
    for batch in (gathered[indices] for indices in BatchIndices(torch.tensor([7, 2, 5]), 2, shuffle=False)):
        assert isinstance(batch, Batch)
        assert batch.images.dtype == torch.uint8
        assert torch.equal(batch.images, data.images[batch.indices])
        assert torch.equal(batch.labels, data.labels[batch.indices])


def test_loaders_keep_train_val_and_test_apart() -> None:
    data = tiny_module()
    train = torch.cat([batch.images[:, 0, 0, 0] for batch in data.train_dataloader()]).tolist()
    val = torch.cat([batch.images[:, 0, 0, 0] for batch in data.val_dataloader()]).tolist()
    assert len(val) == 9
    assert len(train) == 51
    assert sorted(train + val) == list(range(1, 61))  # the pool's own values, none of the test set's


class Recorder(L.LightningModule):
    """Sees what a model would see; learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches: dict[int, list[Batch]] = {}
        self.val_batches: list[Batch] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        self.train_batches.setdefault(self.current_epoch, []).append(batch)
        return self.weight.sum()

    def validation_step(self, batch: Batch, _: int) -> None:
        self.val_batches.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(data: ImageDataModule, epochs: int) -> Recorder:
    recorder = Recorder()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=data)
    return recorder


@pytest.mark.filterwarnings("ignore")
def test_a_real_trainer_augments_training_and_nothing_else() -> None:
    data = tiny_module(crop_padding=1, flip=True)
    seen, again = fitted(data, 3), fitted(tiny_module(crop_padding=1, flip=True), 3)
    pool = data.source.pool.images
    assert len(seen.val_batches) > 3
    for batch in seen.val_batches:
        assert torch.equal(batch.images, pool[batch.indices])
    orders = []
    for epoch, batches in seen.train_batches.items():
        orders.append(torch.cat([batch.indices for batch in batches]))
        assert torch.equal(orders[-1].sort().values, data.split.train)
        images = torch.cat([batch.images for batch in batches])
        repeated = torch.cat([batch.images for batch in again.train_batches[epoch]])
        assert images.dtype == torch.uint8
        assert torch.equal(images, repeated)
        for batch in batches:
            assert batch.raw is not None
            assert torch.equal(batch.raw, pool[batch.indices])
        changed = (images != pool[orders[-1]]).flatten(1).any(1).float().mean()
        assert 0.6 < changed <= 1  # 8 of the 9 shifts move something
    assert len(orders) == 3
    assert not any(torch.equal(early, late) for early, late in pairwise(orders))


def test_augmentation_differs_between_epochs_ranks_and_seeds_only() -> None:
    images = torch.randint(0, 256, (32, 1, 4, 4), dtype=torch.uint8)

    def augmented(seed: int, epoch: int, rank: int) -> Tensor:
        data = tiny_module(crop_padding=1, flip=True, seed=seed)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, current_epoch=epoch)
        return data.augment(images)

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    results = [augmented(*key) for key in keys]
    assert all(torch.equal(result, augmented(*key)) for key, result in zip(keys, results, strict=True))
    assert not any(torch.equal(results[i], results[j]) for i in range(len(keys)) for j in range(i + 1, len(keys)))


def test_batches_of_one_epoch_are_augmented_differently() -> None:
    data = tiny_module(crop_padding=1, flip=True)
    images = torch.randint(0, 256, (32, 1, 4, 4), dtype=torch.uint8)
    assert not torch.equal(data.augment(images), data.augment(images))


def test_padding_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.crop_padding=4"):
        tiny_module(crop_padding=4)
    tiny_module(crop_padding=3)
