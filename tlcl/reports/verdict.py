"""Is it good? The answer of a run in a sentence or two, from its records alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlcl.reports.tables.compare import LOWER, UPPER
from tlcl.statistics.accuracy import LEVEL, accuracy_interval, mcnemar_p
from tlcl.system.figures import count, counted, percent, points, points_spread
from tlcl.tracking.predictions import Predictions

UPPER_ENDS = (UPPER, "joint", "cumulative")  # methods that see all labels, or all tasks at once
HALTING = 0.75  # accuracy below which what a head takes for a wrong label is rather its own mistake
Pair = tuple[str, str, int]


def model_words(backbone: str, summary: Mapping[str, Any]) -> str:
    """Which model: the network, and what of it was trained."""
    trained = summary.get("trained_blocks") or []
    if list(trained) == ["head"]:
        return f"{backbone} with a new head, all else frozen"
    return f"{backbone}, {', '.join(trained)} retrained" if trained else backbone


def accuracy_words(right: int, total: int, of: str = "test images") -> str:
    """`91.5 % of 153 test images are right (95 % interval 86.0 to 95.0 %)`."""
    low, high = accuracy_interval(right, total)
    share = f"{percent(right / max(1, total))} of {count(total)} {of} are right"
    return f"{share} (95 % interval {points(low)} to {percent(high)})"


def beside_guessing(right: int, total: int, look: Mapping[str, Any]) -> str:
    """Whether more is right, by more than chance, than with always answering the class that is largest in training.

    Args:
        look: as `one_answer` gives it; empty: so is the sentence.
    """
    if "answer_acc" not in look:
        return ""
    guess = look["answer_acc"]
    lost, won = round(guess * total) - look["both"], right - look["both"]
    told = mcnemar_p(lost, won) < 1 - LEVEL
    than = "not clearly better than" if not told else "better than" if won > lost else "worse than"
    return f'That is {than} always answering "{look["answer"]}", which would be right on {percent(guess)}.'


def confused_words(pairs: Sequence[Pair]) -> str:
    """What is taken for what most often.

    Args:
        pairs: (true class, predicted class, number of test images), most frequent first.
    """
    if not pairs:
        return "No test image is classified wrongly."
    actual, predicted, images = pairs[0]
    return f'Most often it takes "{actual}" for "{predicted}": {counted(images, "image")}.'


def finetuning_verdict(
    backbone: str, summary: Mapping[str, Any], right: int, total: int, pairs: Sequence[Pair]
) -> str:
    """Model, accuracy, what guessing would reach, and the most frequent confusion."""
    parts = [
        f"{model_words(backbone, summary)}: {accuracy_words(right, total)}.",
        beside_guessing(right, total, summary.get("look") or {}),
        confused_words(pairs),
    ]
    return " ".join(part for part in parts if part)


def one_answer(tested: Predictions, answer: str | None = None) -> dict[str, Any]:
    """What always giving one answer to the test images comes to; empty without images.

    Args:
        answer: the class; None: the most frequent one.

    Returns:
        `answer`, that class; `answer_acc`, its share; `both`, how many of its images are answered rightly.
    """
    labels, classes = tested.labels, list(tested.classes)
    if not len(labels):
        return {}
    known = answer in classes
    place = classes.index(str(answer)) if known else int(np.bincount(labels, minlength=len(classes)).argmax())
    mine = labels == place
    both = int((mine & (tested.probabilities.argmax(1) == place)).sum())
    return {"answer": classes[place], "answer_acc": float(mine.mean()), "both": both}


def continual_verdict(summary: Mapping[str, Any], tasks: int, guess: Mapping[str, Any]) -> str:
    """Method, accuracy on all classes at the end, what guessing would reach, and what was forgotten.

    Args:
        guess: as `one_answer` gives it; empty where each task's classes are told apart by themselves.
    """
    size = int(summary["test_size"])
    right = round(summary["final_accuracy"] * size)
    said = f"{summary['method']['name']}, after {counted(tasks, 'task')}: {accuracy_words(right, size)}."
    return " ".join(filter(None, [said, beside_guessing(right, size, guess), forgotten_words(summary)]))


def forgotten_words(summary: Mapping[str, Any]) -> str:
    """What became of the earlier tasks; empty where it was not measured."""
    lost = summary.get("forgetting")
    if lost is None:
        return ""
    if lost < 0.005:
        return "Nothing of the earlier tasks is forgotten."
    return f"The earlier tasks lost {points(lost)} points of their accuracy on average."


def adaptation_verdict(summary: Mapping[str, Any], guess: Mapping[str, Any]) -> str:
    """Method, accuracy on the target, what guessing would reach, and the accuracy on the source beside it."""
    size = int(summary["test_size"])
    name, source, target = summary["method"]["name"], summary["source"], summary["target"]
    beside = f"On the source {percent(summary['source_test_acc'])} are right."
    if summary["test_acc"] is None:
        unknown = f"{counted(size, 'image')} without labels: nobody knows how many of the answers are right."
        return f"{name}, from {source} to {target}: {unknown} {beside}"
    right = round(summary["test_acc"] * size)
    said = f"{name}, from {source} to {target}: {accuracy_words(right, size, 'target test images')}."
    return " ".join(filter(None, [said, beside_guessing(right, size, guess), beside]))


def upper_end(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a method that sees all labels, or all tasks at once."""
    return row["method"].split()[0] in UPPER_ENDS


def methods_and_ends(
    rows: Sequence[Mapping[str, Any]], key: str
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rows that have the figure `key`, in order, and apart those of methods that are given more than others.

    More: all labels or tasks at once, or labelled target images where another method has fewer.
    """
    known = [row for row in rows if row.get(key) is not None]
    others = [row for row in known if not upper_end(row)]
    least = min((row.get("labelled") or 0 for row in others if row["method"].split()[0] != LOWER), default=0)
    real = [row for row in others if (row.get("labelled") or 0) <= least]
    return real, [row for row in known if row not in real]


def highest(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """The first method of those that are given the same; empty where there is none."""
    return next((str(row["method"]) for row in methods_and_ends(rows, key)[0]), "")


def comparison_verdict(rows: Sequence[Mapping[str, Any]], key: str, what: str, standing: str = "") -> str:
    """The method with the highest figure, and the next; those that are given what the others are not stand apart.

    Args:
        rows: the highest first.
        key: of the accuracy that is compared.
        what: it is.
        standing: how the others stand to the first on the same test images, where that is known.
    """
    real, ends = methods_and_ends(rows, key)
    if not real:
        return ""
    figures = [f"{row['method']} with {_spread(row, key)}" for row in real[:2]]
    said = f"The highest {what}: {', then '.join(figures)}."
    if standing:
        said = f"{said} {standing}"
    elif len(real) > 1:
        said = f"{said} Their answers about the same test images are not there to compare: the order may be chance."
    upper = [f"{row['method']} reaches {_spread(row, key)}" for row in ends]
    return f"{said} Given what the others are not, {' and '.join(upper)}." if upper else said


def _spread(row: Mapping[str, Any], key: str) -> str:
    return f"{points_spread(row[key], row.get(f'{key}_std'))} %"


def label_doubt(summary: Mapping[str, Any]) -> str:
    """What is said beside labels that look wrong to heads that are often wrong themselves; empty of others."""
    among = summary.get("label_issues_among", 0)
    right = summary.get("label_issues_right", among)
    if not among or right >= HALTING * among:
        return ""
    return f" to heads that are right on {percent(right / among)} alone, which may be their mistakes"
