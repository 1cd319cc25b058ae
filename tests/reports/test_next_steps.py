"""One piece of advice for each case."""

from typing import Any

import pytest

from tlcl.reports.next_steps import adaptation_step, continual_step, next_step

BASE: dict[str, Any] = {
    "look": {}, "first_answer": {"interval": [0.86, 0.93]}, "test_acc": 0.9, "trained_blocks": ["head"],
    "blocks": ["stem", "layer1", "layer2", "layer3", "layer4", "head"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "more labelled images of the classes"),
        ({"test_acc": 0.99}, "little left to gain"),
        ({"first_answer": {"interval": [0.8, 0.95]}}, "more test images"),
        ({"look": {"between": {"groups": 1}}}, "put their labels right"),
        ({"look": {"train_test": {"groups": 3}}, "test_acc": 1.0}, "test images are training images too"),
        ({"deeper": {"kept": True}, "trained_blocks": ["layer4", "head"]}, "thaw.depth=2"),
        ({"deeper": {"kept": False}, "trained_blocks": ["head"]}, "more labelled images of the classes"),
    ],
)
def test_the_advice_follows_from_the_figures(changed: dict[str, Any], words: str) -> None:
    assert words in next_step(BASE | changed)


def test_all_blocks_thawed_cannot_be_thawed_further() -> None:
    every = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert "thaw.depth" not in next_step(BASE | {"deeper": {"kept": True}, "trained_blocks": every})
    norms = {"trained_blocks": every[1:], "thawed_blocks": every}  # nothing of the first could learn
    assert "thaw.depth" not in next_step(BASE | {"deeper": {"kept": True}, **norms})


def test_a_run_without_a_first_answer_has_its_own_interval() -> None:
    """Of 300 images 270 are right: 86 to 93 %; of 30 images 27: 74 to 97 %."""
    assert "more labelled images" in next_step({"test_acc": 0.9, "test_size": 300, "trained_blocks": ["head"]})
    assert "more test images" in next_step({"test_acc": 0.9, "test_size": 30, "trained_blocks": ["head"]})


ADAPTED: dict[str, Any] = {
    "test_acc": 0.85, "source_test_acc": 0.9, "method": {"name": "mmd"}, "supervision": "few", "labelled": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "compare with adaptation=source_only"),
        ({"test_acc": None}, "data.test=FOLDER"),
        ({"test_acc": 0.6}, "label a few images (adaptation=ccsa)"),
        ({"test_acc": 0.6, "labelled": 50, "method": {"name": "ccsa"}}, "or label more images"),
        ({"method": {"name": "source_only"}, "supervision": "none"}, "without any adaptation"),
        ({"test_acc": 0.45, "source_test_acc": 0.46}, "even the source is hardly learned"),
        ({"test_acc": 0.99, "supervision": "all", "labelled": 900}, "the upper end of the scale"),
    ],
)
def test_the_advice_after_an_adaptation(changed: dict[str, Any], words: str) -> None:
    assert words in adaptation_step(ADAPTED | changed)


@pytest.mark.parametrize(
    ("forgetting", "words"),
    [(0.4, "methods that stop it"), (0.02, "compare with joint"), (None, "all tasks were given at once")],
)
def test_the_advice_after_a_stream(forgetting: float | None, words: str) -> None:
    assert words in continual_step({"forgetting": forgetting})
