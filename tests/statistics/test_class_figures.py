"""Mean recall and mean F1 against scikit-learn, with classes that have no images."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score
from torchmetrics.functional.classification import multiclass_stat_scores

from tlcl.statistics.class_figures import balanced_accuracy, macro_f1


def scores_of(answers: list[int], labels: list[int], classes: int) -> torch.Tensor:
    return multiclass_stat_scores(torch.tensor(answers), torch.tensor(labels), classes, average=None)


def test_by_hand() -> None:
    """Class 0: recall 3/4, precision 3/4; class 1: recall 1, precision 2/3; class 2: recall 0, never answered."""
    scores = scores_of([0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 2], 3)
    assert float(balanced_accuracy(scores)) == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert float(macro_f1(scores)) == pytest.approx((3 / 4 + 4 / 5 + 0) / 3)


@pytest.mark.parametrize("absent", [False, True])
def test_as_scikit_learns_over_the_classes_with_images(absent: bool) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5 if absent else 7, 300)  # classes 5 and 6 are answered all the same
    answers = np.where(random.random(300) < 0.6, labels, random.integers(0, 7, 300))
    scores, there = scores_of(answers.tolist(), labels.tolist(), 7), np.unique(labels)
    recall = recall_score(labels, answers, labels=there, average="macro")
    f1 = f1_score(labels, answers, labels=there, average="macro")
    assert float(balanced_accuracy(scores)) == pytest.approx(recall, abs=1e-6)
    assert float(macro_f1(scores)) == pytest.approx(f1, abs=1e-6)


def test_without_any_image_there_is_no_figure() -> None:
    nothing = torch.zeros(3, 5, dtype=torch.long)
    assert balanced_accuracy(nothing).isnan()
    assert macro_f1(nothing).isnan()
