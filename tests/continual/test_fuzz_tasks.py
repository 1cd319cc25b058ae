"""Schedules, splits, tasks, metrics and the rehearsal buffer against brute force, for any sizes and orders."""

import io
import math
import warnings
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from tlcl.config.continual import ContinualConfig
from tlcl.config.thaw import BLOCKS, ThawSchedule
from tlcl.continual import metrics
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.stream import build_stream, class_order, task_sizes
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.splits import stratified_order, train_val_split, unlabelled_split
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import block_learning_rates, lr_factor

# --- thaw schedules

EPOCHS = st.integers(-2, 40)
NAMED = st.lists(st.sampled_from([*BLOCKS, "neck", "HEAD", ""]), max_size=4)
MILESTONES = st.dictionaries(EPOCHS, NAMED, max_size=5)


@st.composite
def possible(draw: st.DrawFn) -> dict[int, list[str]]:
    """From the head on, in any number of steps, the epochs in any order."""
    steps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    epochs = [0, *sorted(draw(st.sets(st.integers(1, 60), min_size=len(steps) - 1, max_size=len(steps) - 1)))]
    rest, found = list(reversed(BLOCKS)), {}
    for epoch, step in zip(epochs, steps, strict=True):
        found[epoch], rest = draw(st.permutations(rest[:step])), rest[step:]
    return dict(draw(st.permutations(list(found.items()))))


def thawed(milestones: dict[int, list[str]], epoch: int) -> set[str]:
    """What trains in `epoch`, one epoch at a time."""
    found: set[str] = set()
    for now in range(epoch + 1):
        found |= set(milestones.get(now, ()))
    return found


def is_possible(milestones: dict[int, list[str]]) -> bool:
    """No unknown or repeated block; from epoch 0 on, the last blocks without a gap."""
    named = [block for blocks in milestones.values() for block in blocks]
    if min(milestones, default=0) < 0 or len(set(named)) < len(named) or not set(named) <= set(BLOCKS):
        return False
    shown = [thawed(milestones, epoch) for epoch in range(max(milestones, default=0) + 1)]
    return bool(shown[0]) and all(found == set(BLOCKS[len(BLOCKS) - len(found) :]) for found in shown)


EPOCHS = 50  # of the run


def schedule_of(thaw: dict[str, Any]) -> ThawSchedule | None:
    try:
        return ThawSchedule.from_config(thaw, EPOCHS)
    except UserError as error:
        sentence = str(error)
    assert sentence.startswith("thaw.")
    assert "\n" not in sentence
    return None


@given(MILESTONES | possible())
def test_thawing_is_what_the_milestones_say_epoch_by_epoch(milestones: dict[int, list[str]]) -> None:
    schedule = schedule_of({str(epoch): blocks for epoch, blocks in milestones.items()} | {"depth": None})
    assert (schedule is not None) == is_possible(milestones)
    if schedule is None:
        return
    last = max(milestones) + 2
    shown = [schedule.trainable(epoch) for epoch in range(last)]
    assert shown == [thawed(milestones, epoch) for epoch in range(last)]
    assert all(before <= after for before, after in pairwise(shown))
    assert shown == [schedule.trainable(epoch) for epoch in reversed(range(last))][::-1]


KEYS = st.sampled_from(
    ["0", "1", "05", "-1", "1.5", "depth", "depths", "of", "", "é", "0x1", " 1", "1_0", "10", "٣", "²"]
)
THAW = st.dictionaries(
    KEYS, st.none() | st.just(["head"]) | st.lists(st.sampled_from(BLOCKS)) | st.integers() | st.text(max_size=3)
)


@given(THAW)
@example({"depth": 10**400})
@example({"depth": 1, "of": "x"})
@example({"0": ["head"], "1": ["layer4"], "of": 2})
@example({"0": ["head"], "9" * 5000: ["layer4"]})
@example({"0": ["head"], "٣": ["layer4"]})
def test_any_thaw_group_is_a_schedule_or_a_sentence(thaw: dict[str, Any]) -> None:
    schedule = schedule_of(thaw)
    if schedule is not None:
        assert "head" in schedule.trainable(0)
        written = [str(epoch) in thaw for epoch in schedule.milestones]
        assert all(written) or thaw.get("depth") is not None or thaw.get("of") is not None
        if thaw.get("of") is not None and thaw.get("depth") is None:
            assert max(schedule.milestones) < EPOCHS


@given(st.integers(1, 500), st.integers(0, 500), st.sampled_from(["constant", "cosine"]))
def test_rates_rise_then_never_rise_again(total: int, warmup: int, kind: str) -> None:
    assume(warmup <= total)
    factors = [lr_factor(step, total_steps=total, warmup_steps=warmup, kind=kind) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b for a, b in pairwise(factors[warmup:]))
    assert warmup == total or factors[warmup] == 1


@given(st.floats(1e-6, 10), st.floats(0.01, 2), st.dictionaries(st.sampled_from(BLOCKS), st.floats(0, 1)))
def test_rates_of_blocks(lr: float, decay: float, explicit: dict[str, float]) -> None:
    rates, expected = block_learning_rates(lr, decay, explicit), lr
    assert tuple(rates) == BLOCKS
    for block in reversed(BLOCKS):
        assert math.isclose(rates[block], explicit.get(block, expected))
        expected *= decay


# --- splits

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor)
SIZES = st.none() | st.integers(0, 70)


def near(labels: Tensor, chosen: Tensor) -> bool:
    """Less than one image more or fewer than in proportion, of each class."""
    held = torch.bincount(labels[chosen], minlength=6)
    due = torch.bincount(labels, minlength=6) * len(chosen) / len(labels)
    return bool(((held - due).abs() < 1).all())


@given(LABELS, st.integers(0, 2**40), st.text(max_size=3))
def test_every_prefix_of_a_stratified_order_is_in_proportion(labels: Tensor, seed: int, stream: str) -> None:
    order = stratified_order(labels, seed, stream)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert all(near(labels, order[:count]) for count in range(1, len(labels) + 1))


@given(LABELS, SIZES, SIZES, st.integers(0, 9))
def test_splits_are_disjoint_stratified_and_of_the_asked_sizes(
    labels: Tensor, train_size: int | None, val_size: int | None, seed: int
) -> None:
    total, classes = len(labels), len(labels.unique())
    held_out = max(classes, total // 10) if val_size is None else val_size
    wanted = total - held_out if train_size is None else train_size
    try:
        split = train_val_split(labels, train_size=train_size, val_size=val_size, seed=seed)
    except UserError as error:
        sentence = str(error)
        assert "data." in sentence or (val_size is None and "add images of each class" in sentence)
        assert held_out >= total or not classes <= wanted <= total - held_out
        return
    train, val = set(split.train.tolist()), set(split.val.tolist())
    assert (len(split.train), len(split.val)) == (len(train), len(val)) == (wanted, held_out)
    assert not train & val
    assert train | val <= set(range(total))
    assert near(labels, split.val)
    rest = torch.tensor(sorted(set(range(total)) - val))
    assert near(labels[rest], torch.searchsorted(rest, split.train))


@given(st.integers(0, 50), SIZES, SIZES, st.integers(0, 9))
def test_unlabelled_splits(total: int, train_size: int | None, val_size: int | None, seed: int) -> None:
    held_out = total // 10 if val_size is None else val_size
    wanted = total - held_out if train_size is None else train_size
    try:
        split = unlabelled_split(total, train_size=train_size, val_size=val_size, seed=seed)
    except UserError:
        assert wanted < 2 or wanted + held_out > total
        return
    train, val = set(split.train.tolist()), set(split.val.tolist())
    assert (len(split.train), len(split.val)) == (len(train), len(val)) == (wanted, held_out)
    assert not train & val
    assert train | val <= set(range(total))


# --- tasks

NAMES = st.lists(st.sampled_from(["0", "1", "cat", "é", "a b", "given", "null", "true", "x" * 50]), unique=True)
ORDERS = st.sampled_from(["given", "shuffled", "random", None, 3, {}]) | st.lists(
    st.sampled_from(["0", 1, "cat", "é", "a b", "given", True, None, "x" * 50]), max_size=9
)


@given(NAMES, ORDERS, st.integers(0, 2**63 - 1), st.randoms(use_true_random=False))
def test_an_order_is_a_permutation_or_a_sentence(names: list[str], order: Any, seed: int, random: Any) -> None:
    try:
        places = class_order(order, names, seed)
    except UserError as error:
        assert "continual.class_order" in str(error)  # noqa: PT017
        assert not isinstance(order, list) or sorted(map(str, order)) != sorted(names)
    else:
        assert sorted(places) == list(range(len(names)))
        if isinstance(order, list):
            assert [names[place] for place in places] == list(map(str, order))
    mixed = random.sample(names, len(names))
    assert [names[place] for place in class_order(mixed, names, seed)] == mixed


@given(
    st.integers(-2, 12) | st.lists(st.integers(-1, 9), max_size=6) | st.sampled_from([None, 2.0, True, "2"]),
    st.integers(2, 12),
)
@example([2, 2.0], 4)
def test_sizes_of_tasks(per_task: Any, classes: int) -> None:
    try:
        sizes = task_sizes(per_task, classes)
    except UserError as error:
        assert str(error).startswith(f"continual.classes_per_task={per_task!r}")  # noqa: PT017
        divides = type(per_task) is int and per_task > 0 and classes % per_task == 0
        adds_up = isinstance(per_task, list) and all(type(n) is int and n > 0 for n in per_task)
        assert not divides
        assert not adds_up or sum(per_task) != classes
        return
    assert sum(sizes) == classes
    assert min(sizes) > 0
    assert sizes == per_task if isinstance(per_task, list) else set(sizes) == {per_task}


def source_of(counts: list[int], test_counts: list[int], seed: int) -> Source:
    names = tuple(f"class {number}" for number in range(len(counts)))
    parts = []
    for number, part in enumerate((counts, test_counts)):
        labels = torch.arange(len(part)).repeat_interleave(torch.tensor(part))
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + number))]
        parts.append(ImageTensors(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, names))
    return Source(*parts)


CLASSES = st.lists(st.tuples(st.integers(2, 9), st.integers(1, 4)), min_size=1, max_size=3)  # images of each


@given(
    st.lists(CLASSES, min_size=2, max_size=4),
    st.sampled_from(["class_incremental", "task_incremental", "domain_incremental"]),
    st.none() | st.integers(1, 3),
    st.sampled_from(["given", "shuffled"]),
    st.none() | st.integers(0, 30),
    st.none() | st.integers(0, 12),
    st.integers(0, 99),
)
def test_a_stream_shares_out_every_image_once(
    tasks: list[list[tuple[int, int]]],
    scenario: str,
    number: int | None,
    order: str,
    train: int | None,
    val: int | None,
    seed: int,
) -> None:
    counts = [images for task in tasks for images in task]
    source = source_of([pool for pool, _ in counts], [test for _, test in counts], seed)
    per_task = number or [len(task) for task in tasks]
    config = ContinualConfig(scenario, per_task, order, head="new")
    try:
        stream = build_stream(source, config, train_size=train, val_size=val, seed=seed)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    labels, whole = (
        source.pool.labels,
        train_val_split(source.pool.labels, train_size=train, val_size=val, seed=seed),
    )
    assert sorted(label for task in stream.tasks for label in task.members) == list(range(len(counts)))
    for part in ("train", "val"):
        dealt = [index for task in stream.tasks for index in getattr(task.split, part).tolist()]
        assert sorted(dealt) == sorted(getattr(whole, part).tolist())
    dealt = [index for task in stream.tasks for index in task.test.tolist()]
    assert sorted(dealt) == list(range(len(source.test)))
    for task in stream.tasks:
        assert {*labels[task.split.train].tolist()} == {*task.members} >= {*labels[task.split.val].tolist()}
        assert {*source.test.labels[task.test].tolist()} == {*task.members}
        assert {*stream.source.pool.labels[task.split.train].tolist()} == {*task.outputs}
        for after in range(len(stream.tasks)):
            allowed = stream.allowed(stream.source.test.labels[task.test], after)
            assert allowed.shape == (len(task.test), stream.num_outputs)
            if task.index <= after:  # the right answer is among those of every task that has come
                assert bool(allowed.gather(1, stream.source.test.labels[task.test][:, None]).all())


# --- metrics

VALUES = st.sampled_from([float("nan"), 0.0, 1.0]) | st.floats(0, 1)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[float]]:
    total = draw(st.integers(2, 6))
    rows = draw(st.lists(st.lists(VALUES, min_size=total, max_size=total), min_size=total, max_size=total))
    sizes = draw(st.lists(st.integers(0, 50), min_size=total, max_size=total))
    return np.array(rows), sizes, draw(st.lists(VALUES, min_size=total, max_size=total))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def same(found: Any, expected: Any) -> bool:
    return bool(np.allclose(found, expected, equal_nan=True))


@given(matrices())
def test_metrics_are_their_sums_written_out(given_: tuple[np.ndarray, list[int], list[float]]) -> None:
    """A figure is NaN exactly when a number in its sum is; numpy warns of nothing."""
    r, sizes, untrained = given_
    total, last = len(r), len(r) - 1
    curve = []
    for i in range(total):
        counted = [(sizes[j], r[i, j]) for j in range(i + 1) if sizes[j]]
        curve.append(sum(n * a for n, a in counted) / sum(n for n, _ in counted) if counted else float("nan"))
    lost = []
    for j in range(last):
        before = [r[i, j] for i in range(j, last)]
        lost.append(float("nan") if any(map(math.isnan, before)) else max(before) - r[last, j])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(metrics.cumulative_accuracy(r, sizes), curve)
        assert same(metrics.average_accuracy(r), [mean(list(r[i, : i + 1])) for i in range(total)])
        assert same(metrics.average_incremental_accuracy(r, sizes), mean(curve))
        assert same(metrics.forgetting(r), lost)
        assert same(metrics.backward_transfer(r), mean([r[last, j] - r[j, j] for j in range(last)]))
        assert same(
            metrics.forward_transfer(r, untrained), mean([r[j - 1, j] - untrained[j] for j in range(1, total)])
        )
        summary = metrics.summarise(r, sizes, untrained)
    for value in summary.values():
        for number in value if isinstance(value, list) else [value]:
            assert number is None or (type(number) is float and math.isfinite(number))
    assert (summary["final_accuracy"] is None) == math.isnan(curve[-1])


# --- the rehearsal buffer


class Rehearsal(RuleBasedStateMachine):
    """A buffer and, beside it, all that it was ever offered, as numbers; an image holds its number."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity, self.seen = 5, 0
        self.random = torch.Generator().manual_seed(0)
        self.buffer = RehearsalBuffer(self.capacity, (2,), torch.int64, num_logits=1)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        numbers = torch.arange(self.seen, self.seen + count)
        self.seen += count
        return numbers[:, None].repeat(1, 2), numbers % 7, numbers[:, None].float()

    @rule(count=st.integers(0, 9))
    def add(self, count: int) -> None:
        before = self.held()
        inputs, labels, logits = self.batch(count)
        self.buffer.add(inputs, labels, self.random, logits)
        assert set(self.held()) <= set(before) | set(inputs[:, 0].tolist())
        if len(before) + count <= self.capacity:  # while there is room, everything stays, in order
            assert self.held() == [*before, *inputs[:, 0].tolist()]

    @rule(count=st.integers(0, 7))
    def sample(self, count: int) -> None:
        held, drawn = self.held(), self.buffer.sample(count, self.random)
        if not held:
            assert drawn is None
            return
        assert drawn is not None
        numbers = drawn.inputs[:, 0].tolist()
        assert len(numbers) == len(set(numbers)) == min(count, len(held))
        assert set(numbers) <= set(held)
        assert drawn.labels.tolist() == [number % 7 for number in numbers]
        assert drawn.logits is not None
        assert drawn.logits[:, 0].tolist() == numbers
        drawn.inputs.zero_()  # a copy: what a method does with it leaves the buffer alone
        assert self.held() == held

    @rule()
    def save_and_load(self) -> None:
        file = io.BytesIO()
        torch.save(self.buffer.state_dict(), file)
        file.seek(0)
        fresh = RehearsalBuffer(self.capacity, (2,), torch.int64, num_logits=1)
        fresh.load_state_dict(torch.load(file, weights_only=True))
        held, self.buffer = self.held(), fresh
        assert self.held() == held

    @precondition(lambda self: self.seen)
    @rule(count=st.integers(0, 5))
    def replace(self, count: int) -> None:
        inputs, labels, logits = self.batch(count)
        self.buffer.replace(inputs, labels)
        self.buffer.logits[:count] = logits
        assert self.held() == inputs[:, 0].tolist()

    def held(self) -> list[int]:
        return self.buffer.inputs[: len(self.buffer), 0].tolist()

    @invariant()
    def whole(self) -> None:
        held = self.held()
        assert len(held) == len(self.buffer) == min(self.buffer.offered, self.capacity)
        assert max(Counter(held).values(), default=0) <= 1
        assert self.buffer.labels[: len(held)].tolist() == [number % 7 for number in held]
        assert self.buffer.logits[: len(held), 0].tolist() == held


TestRehearsal = pytest.mark.filterwarnings("ignore")(Rehearsal.TestCase)
TestRehearsal.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
