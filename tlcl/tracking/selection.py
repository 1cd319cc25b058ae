"""Which epoch is best by `trainer.monitor`: the same for the checkpoint, the record and the plots."""

from collections.abc import Mapping
from typing import Any

# What is said of the choice.
RULES = {
    "loss": "the epoch with the lowest validation loss",
    "accuracy": "the epoch with the highest validation accuracy",
}


def validation_score(metrics: Mapping[str, Any]) -> list[float]:
    """The highest validation accuracy is best; among equals the lowest validation loss."""
    return [float(metrics["val/acc"]), -float(metrics["val/loss"])]


def validation_loss_score(metrics: Mapping[str, Any]) -> list[float]:
    """The lowest validation loss is best; it tells more of few images than how many of them are right."""
    return [-float(metrics["val/loss"])]


SCORES = {"loss": validation_loss_score, "accuracy": validation_score}  # of which the highest is best
