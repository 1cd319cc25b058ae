"""The thaw schedule and the learning rates as pure functions."""

import math
from itertools import pairwise, product

import pytest

from tlcl.config.thaw import BLOCKS, ThawSchedule
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import block_learning_rates, lr_factor

STAGED = {0: ["head"], 3: ["layer4"], 7: ["layer2", "layer3"]}


def test_trainable_follows_the_milestones() -> None:
    expected = {0: {"head"}, 2: {"head"}, 3: {"head", "layer4"}, 6: {"head", "layer4"}}
    schedule = ThawSchedule(STAGED)
    assert {epoch: set(schedule.trainable(epoch)) for epoch in expected} == expected
    assert schedule.trainable(7) == schedule.trainable(1000) == {"head", "layer4", "layer3", "layer2"}


def test_trainable_is_pure_and_monotone() -> None:
    schedule = ThawSchedule(dict(reversed(STAGED.items())))
    forwards = [schedule.trainable(epoch) for epoch in range(12)]
    backwards = [schedule.trainable(epoch) for epoch in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert all(early <= late for early, late in pairwise(forwards))


@pytest.mark.parametrize("depth", range(6))
def test_depth_counts_blocks_from_the_end(depth: int) -> None:
    expected = {"head", *("layer4", "layer3", "layer2", "layer1", "stem")[:depth]}
    assert ThawSchedule.from_depth(depth).trainable(0) == expected


@pytest.mark.parametrize("depth", [-1, 6, True, 1.0, "2"])
def test_depth_out_of_range(depth: int) -> None:
    with pytest.raises(UserError, match=r"thaw\.depth"):
        ThawSchedule.from_depth(depth)


def test_exactly_the_orders_from_the_end_are_accepted() -> None:
    """Head first, then any two-block sequence: only layer4 then layer3 has no gap at any time."""
    accepted = set()
    for first, second in product(BLOCKS, BLOCKS):
        try:
            ThawSchedule({0: ["head"], 1: [first], 2: [second]})
        except UserError:
            continue
        accepted.add((first, second))
    assert accepted == {("layer4", "layer3")}
    # Within one epoch the spelling order is free.
    assert ThawSchedule({0: ["layer4", "head"]}).trainable(0) == {"layer4", "head"}


@pytest.mark.parametrize(
    ("milestones", "named"),
    [
        ({-1: ["head"]}, "thaw.-1"),
        ({0: ["neck"]}, "neck"),
        ({0: ["head"], 2: ["head"]}, "thaw.2 thaws head a second time"),
        ({}, "thaw.0"),
        ({1: ["head"]}, "thaw.0"),
        ({0: [], 1: ["head"]}, "thaw.0"),
    ],
)
def test_impossible_schedules(milestones: dict[int, list[str]], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ThawSchedule(milestones)


def test_block_learning_rates_decay_with_the_distance_from_the_head() -> None:
    rates = block_learning_rates(0.08, 0.5, {"layer3": 7.0})
    assert rates == pytest.approx(
        {"head": 0.08, "layer4": 0.04, "layer3": 7.0, "layer2": 0.01, "layer1": 0.005, "stem": 0.0025}
    )
    assert set(block_learning_rates(0.3, 1.0, {}).values()) == {0.3}
    assert block_learning_rates(0.3, 1.0, {"stem": 0.0})["stem"] == 0.0


def test_warmup_is_linear_and_never_zero() -> None:
    factors = [lr_factor(step, total_steps=50, warmup_steps=4, kind="cosine") for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("warmup", [0, 10])
def test_cosine_against_its_closed_form(warmup: int) -> None:
    def factor(step: int) -> float:
        return lr_factor(step, total_steps=110, warmup_steps=warmup, kind="cosine")

    length = 110 - warmup
    for step in range(warmup, 110):
        # cos^2 of the half angle is the same curve by another formula
        assert factor(step) == pytest.approx(math.cos(math.pi * (step - warmup) / (2 * length)) ** 2)
    assert factor(warmup) == 1.0
    assert factor(warmup + length // 2) == pytest.approx(0.5)
    assert factor(110) == pytest.approx(0.0, abs=1e-12)
    assert factor(500) == pytest.approx(0.0, abs=1e-12)


def test_constant_stays_at_one_after_the_warmup() -> None:
    factors = {lr_factor(step, total_steps=9, warmup_steps=2, kind="constant") for step in range(2, 30)}
    assert factors == {1.0}
    assert lr_factor(0, total_steps=9, warmup_steps=2, kind="constant") == pytest.approx(1 / 3)


def test_warmup_as_long_as_the_run() -> None:
    assert lr_factor(4, total_steps=5, warmup_steps=5, kind="cosine") == pytest.approx(5 / 6)
    assert lr_factor(5, total_steps=5, warmup_steps=5, kind="cosine") == 1.0


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (35, {0: ["head"], 15: ["layer4"], 25: ["layer3"]}),
        (70, {0: ["head"], 30: ["layer4"], 50: ["layer3"]}),
        (5, {0: ["head"], 2: ["layer4"], 4: ["layer3"]}),
        (7, {0: ["head"], 3: ["layer4"], 5: ["layer3"]}),
        (2, {0: ["head"], 1: ["layer4", "layer3"]}),
        (1, {0: ["head", "layer4", "layer3"]}),
    ],
)
def test_milestones_are_shares_of_the_run(epochs: int, expected: dict[int, list[str]]) -> None:
    written = {"depth": None, "of": 35, "0": ["head"], "15": ["layer4"], "25": ["layer3"]}
    assert ThawSchedule.from_config(written, epochs).milestones == expected
    still = ThawSchedule.from_config({**written, "of": None}, epochs)
    assert still.milestones == {0: ["head"], 15: ["layer4"], 25: ["layer3"]}


@pytest.mark.parametrize("epochs", range(1, 60))
def test_every_block_thaws_within_any_run(epochs: int) -> None:
    schedule = ThawSchedule({0: ["head"], 34: ["layer4"]}).scaled(35, epochs)
    assert schedule.trainable(epochs - 1) == {"head", "layer4"}


@pytest.mark.parametrize(
    ("of", "named"),
    [(0, "thaw.of=0"), (True, "thaw.of=True"), ("x", "thaw.of='x'"), (7, "thaw.7"), (1.5, "thaw.of")],
)
def test_shares_of_no_run(of: object, named: str) -> None:
    with pytest.raises(UserError, match=named):
        ThawSchedule.from_config({"of": of, "0": ["head"], "7": ["layer4"]}, 10)
