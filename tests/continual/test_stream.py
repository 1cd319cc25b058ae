"""The stream of tasks: splits, orders, the three scenarios, and the sentence for every impossible config."""

from typing import Any

import pytest
import torch

from tests.continual.conftest import images, tiny_source
from tlcl.config.continual import ContinualConfig
from tlcl.continual.stream import Stream, build_stream, class_order, task_sizes
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.splits import train_val_split
from tlcl.errors import UserError

SCENARIOS = ("class_incremental", "task_incremental", "domain_incremental")


def build(
    scenario: str = "class_incremental",
    per_task: Any = 2,
    order: Any = "given",
    source: Source | None = None,
    train_size: int | None = None,
    val_size: int | None = 12,
    seed: int = 0,
) -> Stream:
    config = ContinualConfig(scenario, per_task, order, head="new")
    source = source or tiny_source()
    return build_stream(source, config, train_size=train_size, val_size=val_size, seed=seed)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("train_size", "val_size"), [(None, 12), (30, 10), (40, None)])
def test_tasks_share_out_the_split_of_fine_tuning(
    scenario: str, train_size: int | None, val_size: int | None
) -> None:
    """Disjoint, together exactly `train_val_split`, and each image in the task of its class."""
    source = tiny_source()
    stream = build(scenario, order="shuffled", source=source, train_size=train_size, val_size=val_size, seed=3)
    labels = source.pool.labels
    whole = train_val_split(labels, train_size=train_size, val_size=val_size, seed=3)
    for part in ("train", "val"):
        joined = torch.cat([getattr(task.split, part) for task in stream.tasks])
        assert torch.equal(joined.sort().values, getattr(whole, part).sort().values)
        for task in stream.tasks:
            assert {int(label) for label in labels[getattr(task.split, part)]} <= set(task.members)
    test = torch.cat([task.test for task in stream.tasks])
    assert torch.equal(test.sort().values, torch.arange(len(source.test)))
    for task in stream.tasks:
        assert set(source.test.labels[task.test].tolist()) == set(task.members)
    assert [task.index for task in stream.tasks] == [0, 1, 2]
    assert sorted(label for task in stream.tasks for label in task.members) == list(range(6))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_images_are_never_copied(scenario: str) -> None:
    source = tiny_source()
    stream = build(scenario, source=source)
    for mine, theirs in ((stream.source.pool, source.pool), (stream.source.test, source.test)):
        assert mine.images.data_ptr() == theirs.images.data_ptr()
        assert mine.images.shape == theirs.images.shape


def test_given_and_listed_orders() -> None:
    assert [task.members for task in build().tasks] == [(0, 1), (2, 3), (4, 5)]
    stream = build(order=["f", "a", "c", "b", "e", "d"])
    assert [task.members for task in stream.tasks] == [(5, 0), (2, 1), (4, 3)]
    assert [stream.names[label] for label in stream.tasks[0].members] == ["f", "a"]


def test_shuffled_order_follows_the_seed() -> None:
    names = "abcdefghij"
    orders = [tuple(class_order("shuffled", names, seed)) for seed in range(20)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == 20
    assert orders == [tuple(class_order("shuffled", names, seed)) for seed in range(20)]
    assert len({order[0] for order in orders}) > 4


def test_class_names_that_the_config_reads_as_numbers() -> None:
    assert class_order([1, 0], ["0", "1"], seed=0) == [1, 0]


def test_sizes_as_number_and_as_list() -> None:
    assert task_sizes(2, 10) == [2, 2, 2, 2, 2]
    assert task_sizes(10, 10) == [10]
    assert task_sizes([4, 3, 2, 1], 10) == [4, 3, 2, 1]
    assert [task.members for task in build(per_task=[3, 1, 2]).tasks] == [(0, 1, 2), (3,), (4, 5)]


def test_class_incremental_never_allows_an_unseen_output() -> None:
    stream = build(order=["c", "d", "a", "b", "f", "e"])
    assert stream.num_outputs == 6
    assert bool(stream.competing.all())
    assert [task.outputs for task in stream.tasks] == [(2, 3), (0, 1), (5, 4)]
    seen = ([2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5])
    for after, outputs in enumerate(seen):
        allowed = stream.allowed(torch.tensor([0, 5, 2]), after)
        assert allowed.shape == (3, 6)
        assert allowed.dtype == torch.bool
        for row in allowed:
            assert row.nonzero().squeeze(1).tolist() == outputs


def test_task_incremental_allows_the_own_task_alone() -> None:
    """Also before that task has come: forward transfer is measured so."""
    stream = build("task_incremental", per_task=[3, 2, 1 + 1], source=tiny_source(classes=7), order="given")
    blocks = [{0, 1, 2}, {3, 4}, {5, 6}]
    for label in range(7):
        own = next(block for block in blocks if label in block)
        assert set(stream.competing[label].nonzero().squeeze(1).tolist()) == own
        for after in range(3):
            assert set(stream.allowed(torch.tensor([label]), after)[0].nonzero().squeeze(1).tolist()) == own
    assert torch.equal(stream.source.pool.labels, tiny_source(classes=7).pool.labels)


def test_domain_incremental_relabels_to_the_place_within_the_task() -> None:
    source = tiny_source()
    order = ["f", "a", "c", "b", "e", "d"]
    stream = build("domain_incremental", per_task=3, order=order, source=source)
    place = {name: number % 3 for number, name in enumerate(order)}
    for new, old in ((stream.source.pool, source.pool), (stream.source.test, source.test)):
        assert new.labels.tolist() == [place[old.classes[label]] for label in old.labels.tolist()]
        assert new.classes == ("place 1", "place 2", "place 3")
    assert stream.names == source.pool.classes
    assert [task.outputs for task in stream.tasks] == [(0, 1, 2), (0, 1, 2)]
    assert [task.members for task in stream.tasks] == [(5, 0, 2), (1, 4, 3)]
    assert stream.num_outputs == 3
    assert bool(stream.competing.all())
    assert bool(stream.allowed(torch.tensor([0, 2]), 0).all())


def lone(test_labels: list[int]) -> Source:
    """Four classes of 20 images but the last, which has one."""
    labels = torch.tensor([0, 1, 2] * 20 + [3])
    names = ("p", "q", "r", "s")
    pool = ImageTensors(images(len(labels), 1), labels, names)
    return Source(pool, ImageTensors(images(len(test_labels), 2), torch.tensor(test_labels), names))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"per_task": 4}, ["continual.classes_per_task=4", "does not divide the 6 classes", "[4, 2]"]),
        ({"per_task": 0}, ["continual.classes_per_task=0", "from 1 to 6"]),
        ({"per_task": 7}, ["continual.classes_per_task=7", "from 1 to 6"]),
        ({"per_task": True}, ["continual.classes_per_task=True"]),
        ({"per_task": 2.0}, ["continual.classes_per_task=2.0"]),
        ({"per_task": None}, ["continual.classes_per_task=None"]),
        ({"per_task": "2"}, ["continual.classes_per_task='2'"]),
        ({"per_task": []}, ["continual.classes_per_task=[]"]),
        ({"per_task": [2, 2]}, ["continual.classes_per_task=[2, 2]", "adds up to the 6 classes"]),
        ({"per_task": [6, 0]}, ["continual.classes_per_task=[6, 0]"]),
        ({"per_task": [7, -1]}, ["continual.classes_per_task=[7, -1]"]),
        ({"per_task": [5, True]}, ["continual.classes_per_task=[5, True]"]),
        ({"per_task": 6}, ["continual.classes_per_task=6", "one task"]),
        ({"per_task": [6]}, ["continual.classes_per_task=[6]", "one task"]),
        ({"scenario": "domain_incremental", "per_task": [4, 2]}, ["continual.classes_per_task=[4, 2]", "one size"]),
        ({"scenario": "domain_incremental", "per_task": 1}, ["continual.classes_per_task=1", "at least 2"]),
        ({"scenario": "task_incremental", "per_task": [5, 1]}, ["continual.classes_per_task=[5, 1]", "one class"]),
        ({"order": "random"}, ["continual.class_order='random'", "given, shuffled or a list"]),
        ({"order": None}, ["continual.class_order=None"]),
        ({"order": list("abcdex")}, ["continual.class_order", "'x'", "a, b, c, d, e, f"]),
        ({"order": list("abcdee")}, ["continual.class_order", "'e' twice"]),
        ({"order": list("abcd")}, ["continual.class_order lacks e, f"]),
        ({"train_size": 100}, ["data.train_size=100"]),
        ({"val_size": 72}, ["data.val_size=72"]),
    ],
    ids=str,
)
def test_impossible_configs_are_one_sentence(keys: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(**keys)
    message = str(caught.value)
    assert "\n" not in message
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("test_labels", "train_size", "named"),
    [
        ([0, 1, 2, 3], 20, ["'s' has no training image", "data.train_size"]),
        ([0, 1, 2], None, ["'s' has no test image"]),
    ],
    ids=["train", "test"],
)
def test_classes_without_images_are_one_sentence(
    test_labels: list[int], train_size: int | None, named: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        build(source=lone(test_labels), train_size=train_size)
    message = str(caught.value)
    assert "\n" not in message
    for part in [*named, "data."]:
        assert part in message
