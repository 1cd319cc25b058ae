"""Cross-entropy in which classes of few images count as much as those of many."""

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassStatScores

from tlcl.config.schema import Config
from tlcl.statistics.class_figures import balanced_accuracy, macro_f1


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """N / (K n) for a class of n of the N images, of K classes that have images; others get 0.

    The weights of scikit-learn's `class_weight="balanced"` (King & Zeng 2001, "Logistic regression in rare events
    data", section 4.2). Their mean over the images is 1, so that learning rates and penalties keep their meaning.

    Args:
        labels: int64 (N,), 0..classes-1.

    Returns:
        float32 (classes,).
    """
    counts = torch.bincount(labels, minlength=classes)
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp_min(1)), 0.0).float()


def evens_out(config: Config) -> bool:
    """Whether each class has the same say in training, by weights in the loss or by how often it is drawn.

    Both have the same expected loss; a head that is fitted to all images at once has it by weights.
    """
    return config.optim.class_weights == "balanced" or config.data.balanced_batches


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy; with `weights` the mean over the images of each one's loss times its class's weight.

    Unlike torch's own `weight`, which divides by the weights of the images that happen to be in the batch, the mean
    over batches is then the mean over all images, with however many processes.

    Args:
        logits: float (B, K).
        labels: int64 (B,).
        weights: float (K,).
        smoothing: label smoothing, 0 <= smoothing < 1.
    """
    if weights is None:
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    losses = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="none")
    return (weights[labels] * losses).mean()


class BalancedAccuracy(MulticlassStatScores):
    """See `tlcl.statistics.class_figures.balanced_accuracy`."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average=None)

    def compute(self) -> Tensor:
        return balanced_accuracy(super().compute())


class MacroF1(MulticlassStatScores):
    """See `tlcl.statistics.class_figures.macro_f1`."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average=None)

    def compute(self) -> Tensor:
        return macro_f1(super().compute())
