"""Stages of networks with many equal blocks, and what a block's or a stage's name stands for."""

import pytest

from tlcl.config.stages import named_blocks, stage_names, stages
from tlcl.config.thaw import BLOCKS, ThawSchedule
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import block_learning_rates

VIT = ("stem", *(f"blocks_{number}" for number in range(12)), "norm", "head")


def row(count: int) -> tuple[str, ...]:
    return ("stem", *(f"blocks_{number}" for number in range(count)), "head")


@pytest.mark.parametrize("names", [BLOCKS, row(6), row(7), row(8), ("stem", "layers_0", "stages_1", "head")])
def test_up_to_eight_numbered_blocks_are_a_stage_each(names: tuple[str, ...]) -> None:
    assert stages(names) == [(name,) for name in names]
    assert not stage_names(names)


@pytest.mark.parametrize(
    ("count", "sizes"), [(9, [2, 2, 2, 3]), (12, [3, 3, 3, 3]), (14, [3, 4, 3, 4]), (24, [6, 6, 6, 6])]
)
def test_more_are_four_stages_in_order(count: int, sizes: list[int]) -> None:
    found = stages(row(count))
    assert [len(stage) for stage in found] == [1, *sizes, 1]
    assert tuple(name for stage in found for name in stage) == row(count)


def test_rates_of_six_blocks_are_the_same_to_the_bit() -> None:
    for decay in (0.5, 0.3, 1.0, 1.7):
        expected = {name: 0.07 * decay ** (5 - index) for index, name in enumerate(BLOCKS)}
        assert block_learning_rates(0.07, decay, {}) == expected


def test_rates_decay_by_stage() -> None:
    rates = block_learning_rates(0.8, 0.5, {"stage1": 3.0, "blocks_2": 4.0}, VIT)
    assert rates["head"] == 0.8
    assert rates["norm"] == 0.4
    assert {rates[f"blocks_{number}"] for number in (9, 10, 11)} == {0.2}
    assert {rates[f"blocks_{number}"] for number in (6, 7, 8)} == {0.1}
    assert [rates[f"blocks_{number}"] for number in range(4)] == [3.0, 3.0, 4.0, 0.05]
    assert rates["stem"] == 0.8 / 2**6


def test_a_stage_is_accepted_as_a_block() -> None:
    deep = {f"blocks_{number}" for number in range(6, 12)} | {"norm", "head"}
    assert ThawSchedule.from_depth("stage3", VIT).trainable(0) == deep
    assert ThawSchedule.from_depth("blocks_6", VIT).trainable(0) == deep
    assert ThawSchedule.from_depth(7, VIT).trainable(0) == deep
    by_epoch = ThawSchedule.from_config({"0": "norm", "2": ["stage4"], "3": "stage3", "5": "all"}, 9, VIT)
    assert by_epoch.trainable(1) == {"norm", "head"}
    assert by_epoch.trainable(2) == {"blocks_9", "blocks_10", "blocks_11", "norm", "head"}
    assert by_epoch.trainable(4) == deep
    assert by_epoch.trainable(5) == set(VIT)
    some = ThawSchedule.from_config({"blocks": ["stage1", "head"]}, 9, VIT)
    assert some.trainable(0) == {"blocks_0", "blocks_1", "blocks_2", "head"}


def test_a_real_block_of_that_name_is_itself() -> None:
    names = ("stem", "stage1", *(f"blocks_{number}" for number in range(9)), "head")
    assert named_blocks("thaw.depth", "stage1", names) == ("stage1",)
    assert named_blocks("thaw.depth", "stage2", names) == ("blocks_2", "blocks_3")


@pytest.mark.parametrize(
    ("name", "names", "said"),
    [
        ("layer9", BLOCKS, "the blocks are stem, layer1, layer2, layer3, layer4, head"),
        ("stage1", BLOCKS, "the blocks are"),
        ("block_7", VIT, "the nearest are blocks_7"),
        ("neck", VIT, "the network has 15, stem, blocks_0 to norm and head, and stage1, stage2, stage3, stage4"),
    ],
)
def test_an_unknown_block(name: str, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        named_blocks("thaw.3", name, names)


def test_five_is_everything_of_a_smaller_network_as_it_was() -> None:
    order = ("stem", "layer1", "layer2", "layer3", "head")
    assert ThawSchedule.from_depth(5, order).trainable(0) == set(order)
    assert ThawSchedule.from_depth(4, order).trainable(0) == set(order)
    with pytest.raises(UserError, match=r"thaw\.depth=6 must be a whole number from 0 \(head only\) to 4"):
        ThawSchedule.from_depth(6, order)


def test_everything_is_the_same_with_a_number_or_by_name() -> None:
    given = [{"depth": 5}, {"depth": "all"}, {"depth": "stem"}, {"0": "all"}, {"0": 5}, {"0": list(BLOCKS)}]
    assert {ThawSchedule.from_config(thaw, 3).trainable(0) for thaw in given} == {frozenset(BLOCKS)}
