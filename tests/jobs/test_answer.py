"""What the terminal says at the end: counted by hand."""

from pathlib import Path

import numpy as np

from tlcl.jobs.answer import class_lines, next_lines

SUMMARY = {"first_answer": {"interval": [0.86, 0.93]}, "test_acc": 0.9, "trained_blocks": ["head"]}


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


def test_the_commands_can_be_pasted() -> None:
    predict, explain = next_lines(SUMMARY, Path("my runs/1"))[1:]
    assert "tlcl predict 'my runs/1' IMAGES --csv predictions.csv" in predict
    assert "tlcl explain 'my runs/1' IMAGES" in explain
