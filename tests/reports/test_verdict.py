"""The first sentences of the pages, against figures counted by hand; intervals are Wilson's (1927)."""

from math import comb
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlcl.reports.verdict import (
    accuracy_words,
    adaptation_verdict,
    beside_guessing,
    comparison_verdict,
    confused_words,
    continual_verdict,
    finetuning_verdict,
    model_words,
    one_answer,
)


def wilson(right: int, total: int) -> tuple[float, float]:
    """Its two ends by the formula, for 95 %."""
    z, share = 1.959964, right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    return middle - half, middle + half


def test_accuracy_and_its_interval() -> None:
    low, high = wilson(140, 153)
    words = f"91.5 % of 153 test images are right (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    assert accuracy_words(140, 153) == words


@pytest.mark.parametrize(
    ("right", "guessed", "both", "word"),
    [(140, 77, 70, "better than"), (140, 138, 130, "not clearly better than"), (120, 140, 115, "worse than"),
     (60, 45, 40, "better than"), (10, 10, 10, "not clearly better than")],
)  # fmt: skip
def test_an_accuracy_is_held_against_guessing(right: int, guessed: int, both: int, word: str) -> None:
    """By McNemar's exact test: of 153 images, those that one of the two alone has right."""
    look = {"answer": "ants", "answer_acc": guessed / 153, "both": both}
    won, lost = right - both, guessed - both
    p = min(1, 2 * sum(comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost))
    assert (p < 0.05) == (word != "not clearly better than")
    said = beside_guessing(right, 153, look)
    assert said == f'That is {word} always answering "ants", which would be right on {100 * guessed / 153:.1f} %.'
    assert beside_guessing(140, 153, {}) == ""


def test_what_one_answer_comes_to() -> None:
    tested = SimpleNamespace(
        labels=np.array([2, 2, 0, 1]), classes=["a", "b", "c"], probabilities=np.eye(3)[[2, 0, 0, 2]]
    )
    assert one_answer(tested) == {"answer": "c", "answer_acc": 0.5, "both": 1}  # type: ignore[arg-type]
    assert one_answer(tested, "a") == {"answer": "a", "answer_acc": 0.25, "both": 1}  # type: ignore[arg-type]
    nothing = SimpleNamespace(labels=np.array([], dtype=int), classes=["a"], probabilities=np.zeros((0, 1)))
    assert one_answer(nothing) == {}  # type: ignore[arg-type]


def test_what_a_finetuning_says() -> None:
    assert model_words("net", {"trained_blocks": ["head"]}) == "net with a new head, all else frozen"
    summary = {"trained_blocks": ["layer4", "head"], "look": {"answer": "a", "answer_acc": 0.25, "both": 20}}
    said = finetuning_verdict("net", summary, 80, 100, [("a", "b", 1_200), ("b", "a", 1)])
    assert said.startswith("net, layer4, head retrained: 80.0 % of 100 test images are right")
    assert said.endswith('which would be right on 25.0 %. Most often it takes "a" for "b": 1,200 images.')
    assert confused_words([("a", "b", 1)]).endswith(": 1 image.")
    assert confused_words([]) == "No test image is classified wrongly."


def test_what_continual_and_adaptation_runs_say() -> None:
    continual: dict[str, Any] = {
        "test_size": 400, "final_accuracy": 0.1975, "method": {"name": "naive"}, "forgetting": 0.990625,
    }  # fmt: skip
    said = continual_verdict(continual, 5, {"answer": "1", "answer_acc": 0.1025, "both": 10})
    assert said.startswith("naive, after 5 tasks: 19.8 % of 400 test images are right")
    assert "better than always answering" in said
    assert said.endswith("The earlier tasks lost 99.1 points of their accuracy on average.")
    assert "Nothing of the earlier tasks" in continual_verdict({**continual, "forgetting": 0.0}, 5, {})
    assert "earlier" not in continual_verdict({**continual, "forgetting": None}, 5, {})
    adaptation = {
        "test_size": 400, "test_acc": 0.6825, "source_test_acc": 0.914, "method": {"name": "dann"},
        "source": "fonts", "target": "digits",
    }  # fmt: skip
    said = adaptation_verdict(adaptation, {})
    assert said.startswith("dann, from fonts to digits: 68.2 % of 400 target test images are right")
    assert said.endswith("On the source 91.4 % are right.")


def test_a_comparison_names_apart_what_sees_more() -> None:
    rows = [
        {"method": "joint", "final_accuracy": 0.972, "final_accuracy_std": None},
        {"method": "er buffer_size=30", "final_accuracy": 0.9, "final_accuracy_std": 0.011},
        {"method": "naive", "final_accuracy": 0.2, "final_accuracy_std": None},
        {"method": "der", "final_accuracy": None, "final_accuracy_std": None},
    ]
    assert comparison_verdict(rows, "final_accuracy", "accuracy") == (
        "The highest accuracy: er buffer_size=30 with 90.0 ± 1.1 %, then naive with 20.0 %. "
        "Their answers about the same test images are not there to compare: the order may be chance. "
        "Given what the others are not, joint reaches 97.2 %."
    )
    assert comparison_verdict(rows[:1], "final_accuracy", "accuracy") == ""


def test_a_comparison_names_apart_what_is_given_labels() -> None:
    """The highest of those without target labels, though others with a few are higher."""
    given = {"fine_tune": 50, "ccsa": 50, "mmd": 0, "source_only": 0, "target_oracle": 900}
    accuracies = {"target_oracle": 0.99, "fine_tune": 0.9, "ccsa": 0.8, "mmd": 0.7, "source_only": 0.5}
    rows = [
        {"method": name, "test_acc": value, "test_acc_std": None, "labelled": given[name]}
        for name, value in accuracies.items()
    ]
    assert comparison_verdict(rows, "test_acc", "accuracy") == (
        "The highest accuracy: mmd with 70.0 %, then source_only with 50.0 %. "
        "Their answers about the same test images are not there to compare: the order may be chance. "
        "Given what the others are not, "
        "target_oracle reaches 99.0 % and fine_tune reaches 90.0 % and ccsa reaches 80.0 %."
    )
    few = [row for row in rows if row["method"] in ("fine_tune", "ccsa", "source_only")]
    assert comparison_verdict(few, "test_acc", "accuracy").startswith("The highest accuracy: fine_tune with 90.0 %")
