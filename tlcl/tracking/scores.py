"""Of a finished run's summary: the figure that runs may be chosen by, and the one that is reported."""

from collections.abc import Mapping
from typing import Any

MEANING = {
    "finetune": ("validation accuracy of the selected epoch", "test accuracy"),
    "continual": (
        "accuracy on the validation images of all classes after the last task",
        "accuracy on the test images of all classes after the last task",
    ),
    "adapt": (
        "source validation accuracy less the target's prediction entropy",
        "accuracy on the target's test images",
    ),
}


def validation_figure(summary: Mapping[str, Any]) -> float | None:
    """What a search maximises and runs are chosen by; no test image and no hidden target label is in it.

    Fine-tuning: validation accuracy of the selected epoch, 0 to 1. Continual learning: accuracy on the validation
    images of all classes after the last task, 0 to 1. Adaptation: `source_entropy` of the tested epoch, -1 to 1
    (see `tlcl.adaptation.validator`), or the source's validation accuracy where no target image was held out.

    Returns:
        None for a job that has none: a comparison, a continual run with data.val_size=0, one that is not complete.
    """
    job, chosen = summary.get("job"), summary.get("selected") or {}
    if job == "finetune":
        return _number(chosen.get("val_acc"))
    if job == "continual":
        return _number((summary.get("validation") or {}).get("final_accuracy"))
    if job == "adapt":
        accuracy, entropy = _number(chosen.get("acc")), _number(chosen.get("target_entropy"))
        return accuracy if accuracy is None or entropy is None else accuracy - entropy
    return None


def reported_figure(summary: Mapping[str, Any]) -> float | None:
    """The accuracy that is reported, 0 to 1; None for a job that has no single one."""
    return _number(summary.get("final_accuracy" if summary.get("job") == "continual" else "test_acc"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
