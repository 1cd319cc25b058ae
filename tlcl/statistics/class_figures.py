"""Figures in which every class counts the same, however many images it has: pure functions.

A class without images has no recall: it is left out of the mean, and not counted as wrong.
"""

from torch import Tensor


def balanced_accuracy(scores: Tensor) -> Tensor:
    """Mean recall of the classes with images, 0..1.

    Brodersen et al. 2010, "The balanced accuracy and its posterior distribution", section II.

    Args:
        scores: int (K, 5), a class a row: true and false positives, true and false negatives, images; what
            `torchmetrics.functional.classification.multiclass_stat_scores` gives with average=None.

    Returns:
        A scalar; NaN when no class has images.
    """
    right, images = scores[:, 0], scores[:, 4]
    tested = images > 0
    return (right[tested] / images[tested]).mean()


def macro_f1(scores: Tensor) -> Tensor:
    """Mean F1 of the classes with images, 0..1 (Opitz & Burst 2019, "Macro F1 and macro F1": the mean of F1).

    Args:
        scores: as for `balanced_accuracy`.

    Returns:
        A scalar; NaN when no class has images.
    """
    right, wrongly, _, missed, images = scores.unbind(1)
    tested = images > 0
    return (2 * right / (2 * right + wrongly + missed))[tested].mean()
