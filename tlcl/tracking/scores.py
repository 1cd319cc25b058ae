"""Of a finished run's summary: the figure that runs may be chosen by, without test images and hidden labels."""

from collections.abc import Mapping
from typing import Any


def finetuning_score(summary: Mapping[str, Any]) -> float | None:
    """Validation accuracy of the selected epoch, 0 to 1."""
    return _number((summary.get("selected") or {}).get("val_acc"))


def continual_score(summary: Mapping[str, Any]) -> float | None:
    """Accuracy on the validation images of all classes after the last task, 0 to 1; None with data.val_size=0."""
    return _number((summary.get("validation") or {}).get("final_accuracy"))


def adaptation_score(summary: Mapping[str, Any]) -> float | None:
    """`source_entropy` of the tested epoch, -1 to 1 (see `tlcl.adaptation.validator`).

    The source's validation accuracy where no target image was held out.
    """
    chosen = summary.get("selected") or {}
    accuracy, entropy = _number(chosen.get("acc")), _number(chosen.get("target_entropy"))
    return accuracy if accuracy is None or entropy is None else accuracy - entropy


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
