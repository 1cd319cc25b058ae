"""Which epoch is best by `trainer.monitor`: the same for the checkpoint, the record and the plots."""

from collections.abc import Mapping
from typing import Any

# What is said of the choice.
RULES = {
    "loss": "the epoch with the lowest validation loss",
    "accuracy": "the epoch with the highest validation accuracy",
    "balanced_accuracy": "the epoch with the highest balanced validation accuracy",
    "macro_f1": "the epoch with the highest macro F1 on the validation images",
}
# The same for a plot's title.
SHORT_RULES = {
    "loss": "lowest validation loss",
    "accuracy": "highest validation accuracy",
    "balanced_accuracy": "highest balanced validation accuracy",
    "macro_f1": "highest macro F1 in validation",
}


def validation_score(metrics: Mapping[str, Any]) -> list[float]:
    """The highest validation accuracy is best; among equals the lowest validation loss."""
    return [float(metrics["val/acc"]), -float(metrics["val/loss"])]


def validation_loss_score(metrics: Mapping[str, Any]) -> list[float]:
    """The lowest validation loss is best; it tells more of few images than how many of them are right."""
    return [-float(metrics["val/loss"])]


def balanced_accuracy_score(metrics: Mapping[str, Any]) -> list[float]:
    """The highest mean recall of the classes is best; among equals the lowest validation loss."""
    return [float(metrics["val/balanced_acc"]), -float(metrics["val/loss"])]


def macro_f1_score(metrics: Mapping[str, Any]) -> list[float]:
    """The highest mean F1 of the classes is best; among equals the lowest validation loss."""
    return [float(metrics["val/macro_f1"]), -float(metrics["val/loss"])]


# Of which the highest is best.
SCORES = {
    "loss": validation_loss_score,
    "accuracy": validation_score,
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": macro_f1_score,
}
