"""What the terminal says at the end: counted by hand, and one piece of advice for each case."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlcl.jobs.answer import class_lines, next_lines, next_step


def certain(predicted: list[int], classes: int) -> np.ndarray:
    """Probabilities of answers without doubt."""
    return np.eye(classes)[predicted]


def test_every_class_is_counted_and_one_without_test_images_says_so() -> None:
    labels = np.array([0, 0, 0, 2, 2])
    lines = class_lines(labels, certain([0, 0, 2, 2, 1], 3), ["ants", "wasps", "bees"])
    assert lines == ["  ants    66.7 %  2 of 3", "  wasps     –    no test image", "  bees    50.0 %  1 of 2"]


def test_of_many_classes_the_hardest_are_named() -> None:
    """Of thirteen, of which the last is never tested, class k has k of 12 images right."""
    labels = np.repeat(np.arange(12), 12)
    predicted = [label if place < label else 12 for label in range(12) for place in range(12)]
    lines = class_lines(labels, certain(predicted, 13), [f"c{number:02d}" for number in range(13)])
    assert lines[0] == "  c00    0.0 %  0 of 12"
    assert [line.split()[0] for line in lines[:-1]] == [f"c{number:02d}" for number in range(10)]
    assert lines[9] == "  c09   75.0 %  9 of 12"
    assert lines[-1] == "  (the 10 hardest of 13 classes)"


def test_a_name_cannot_steer_the_terminal() -> None:
    """Bytes of a folder's name that are no UTF-8 are written out."""
    (line, _) = class_lines(np.array([0, 1]), certain([0, 1], 2), ["b\udcff", "a"])
    line.encode()


BASE: dict[str, Any] = {
    "look": {}, "first_answer": {"interval": [0.86, 0.93]}, "test_acc": 0.9, "trained_blocks": ["head"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "more labelled images of the classes"),
        ({"test_acc": 0.99}, "little left to gain"),
        ({"first_answer": {"interval": [0.8, 0.95]}}, "more test images"),
        ({"look": {"between": {"groups": 1}}}, "put their labels right"),
        ({"deeper": {"kept": True}, "trained_blocks": ["layer4", "head"]}, "thaw.depth=2"),
        ({"deeper": {"kept": False}, "trained_blocks": ["head"]}, "more labelled images of the classes"),
    ],
)
def test_the_advice_follows_from_the_figures(changed: dict[str, Any], words: str) -> None:
    assert words in next_step(BASE | changed)


def test_all_blocks_thawed_cannot_be_thawed_further() -> None:
    every = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert "thaw.depth" not in next_step(BASE | {"deeper": {"kept": True}, "trained_blocks": every})


def test_the_commands_can_be_pasted() -> None:
    predict, explain = next_lines(BASE, Path("my runs/1"))[1:]
    assert "tlcl predict 'my runs/1' IMAGES --csv predictions.csv" in predict
    assert "tlcl explain 'my runs/1' IMAGES" in explain
