"""Labels that look wrong, by confident learning: pure functions."""

import numpy as np
from scipy.stats import binomtest

SURE = 0.05


def knows_the_classes(labels: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether predictions agree with the labels by more than chance does, at a level of 5 %.

    Chance: as often as classes drawn with the same counts would, which is where Cohen's kappa is 0 (Cohen 1960, "A
    coefficient of agreement for nominal scales"). To answer the largest class alone is no more than that.

    Args:
        labels, predicted: int (N,), 0..K-1.
    """
    total, classes = len(labels), 1 + max(labels.max(initial=0), predicted.max(initial=0))
    if not total:
        return False
    shares = [np.bincount(which, minlength=classes) / total for which in (labels, predicted)]
    by_chance = min(1.0, float(shares[0] @ shares[1]))
    return bool(binomtest(int((labels == predicted).sum()), total, by_chance, "greater").pvalue < SURE)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How many images of each label count as one of each class: int (K, K), labels by classes.

    An image counts as one of class k where its probability of k is at least the mean of that among the images that
    are labelled k; of several such classes the most probable (Northcutt et al. 2021, "Confident learning:
    estimating uncertainty in dataset labels", section 3.1). Every class has one image at least on the diagonal.

    Args:
        labels, probabilities: as for `label_issues`.
    """
    classes = probabilities.shape[1]
    of_label = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=of_label, minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(1, counts), np.inf)
    confident = probabilities >= thresholds - 1e-6
    counted = confident.any(1)
    guesses = np.where(confident, probabilities, -1.0).argmax(1)
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[counted], guesses[counted]), 1)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return joint


def label_issues(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which labels look wrong, and what they look like instead.

    The confident joint, scaled to the number of images of each label, says how many labels i should be j; these are
    the images of label i with the largest difference between the probabilities of j and i ("prune by noise rate",
    Northcutt et al. 2021, section 3.2). Those whose label is the most probable class are left alone.

    Args:
        labels: int (N,), 0..K-1.
        probabilities: float (N, K), rows sum to 1, of a model that has not seen the image that a row is about.

    Returns:
        Indices int64 (M,), the one with the least probable label first, and the most probable classes int64 (M,).
    """
    joint, predicted = confident_joint(labels, probabilities), probabilities.argmax(1)
    wrong = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mislabelled = np.rint(joint[label] / joint[label].sum() * len(members)).astype(int)
        for other in np.flatnonzero(mislabelled):
            if other != label:
                margins = probabilities[members, other] - probabilities[members, label]
                wrong[members[np.argsort(-margins, kind="stable")[: mislabelled[other]]]] = True
    found = np.flatnonzero(wrong & (predicted != labels))
    found = found[np.argsort(probabilities[found, labels[found]], kind="stable")]
    return found, predicted[found]
