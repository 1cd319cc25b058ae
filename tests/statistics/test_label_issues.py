"""Labels that look wrong: by hand, against cleanlab, and that flipped labels are what is found."""

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from sklearn.datasets import make_blobs
from sklearn.metrics import cohen_kappa_score

from tlcl.finetuning.fitted_head import choose_penalty
from tlcl.statistics.label_issues import confident_joint, knows_the_classes, label_issues


def flipped(images: int, classes: int, share: float, seed: int, spread: float = 5.0) -> tuple[np.ndarray, ...]:
    """Labels of which a share is wrong, held-out probabilities, the wrong ones' places and the true labels."""
    random = np.random.default_rng(seed)
    points, true = make_blobs(images, 16, centers=classes, cluster_std=spread, random_state=seed)
    wrong = random.choice(images, int(share * images), replace=False)
    labels = true.copy()
    labels[wrong] = (labels[wrong] + random.integers(1, classes, len(wrong))) % classes
    features = torch.from_numpy(points).float()
    chosen = choose_penalty(features, features, torch.from_numpy(labels).long(), classes, seed=0)
    return labels, chosen.held_out.softmax(1).double().numpy(), wrong, true


def test_by_hand() -> None:
    """The thresholds are 0.6 for class 0 and 0.7 for class 1, and each has one confident image of the other."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    of_one = np.array([0.1, 0.25, 0.85, 0.95, 0.9, 0.25])
    probabilities = np.stack([1 - of_one, of_one], 1)
    assert confident_joint(labels, probabilities).tolist() == [[2, 1], [1, 2]]
    found, suggested = label_issues(labels, probabilities)
    assert found.tolist() == [2, 5]  # 0.15 of its label, then 0.25
    assert suggested.tolist() == [1, 0]


def test_a_class_without_images_is_never_suggested() -> None:
    probabilities = np.array([[0.3, 0.1, 0.6], [0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.7, 0.3, 0.0]])
    found, suggested = label_issues(np.array([0, 0, 1, 1]), probabilities)
    assert (found.tolist(), suggested.tolist()) == ([3], [0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_cleanlab_finds_them(seed: int) -> None:
    labels, probabilities, *_ = flipped(600, 6, 0.1, seed)
    found, _ = label_issues(labels, probabilities)
    joint = compute_confident_joint(labels, probabilities, calibrate=False)
    assert np.array_equal(confident_joint(labels, probabilities), joint)
    theirs = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    assert len(theirs) > 40
    # cleanlab rounds the numbers of a class so that their sum stays.
    assert len(np.setxor1d(found, theirs)) <= 2
    common = [place for place in theirs if place in found]
    assert [place for place in found if place in theirs] == common


def test_most_wrong_labels_are_found_and_few_right_ones_named() -> None:
    labels, probabilities, wrong, true = flipped(600, 6, 0.05, 0, spread=3.0)
    found, suggested = label_issues(labels, probabilities)
    hits = np.isin(found, wrong)
    assert len(wrong) == 30
    assert hits.sum() >= 25
    assert (~hits).sum() <= 2
    assert (suggested[hits] == true[found[hits]]).mean() > 0.9


def test_who_knows_the_classes() -> None:
    """Independent: scikit-learn's kappa of predictions with and without knowledge."""
    random = np.random.default_rng(0)
    labels = random.choice(5, size=400, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    guesses = [random.permutation(labels) for _ in range(200)]
    told = [knows_the_classes(labels, guess) for guess in guesses]
    assert np.mean(told) < 0.08
    half = np.where(random.random(400) < 0.3, labels, guesses[0])
    assert cohen_kappa_score(labels, half) > 0.2
    assert knows_the_classes(labels, half)


def test_the_largest_class_alone_is_no_knowledge() -> None:
    labels = np.array([0] * 97 + [1] * 3)
    assert not knows_the_classes(labels, np.zeros(100, dtype=np.int64))
    assert knows_the_classes(labels, labels)
    assert not knows_the_classes(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
