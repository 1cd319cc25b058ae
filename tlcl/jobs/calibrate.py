"""How sure the answers of a run may be, by its held-out images alone; no test image has a say."""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tlcl.statistics.calibration import fit_temperature, negative_log_likelihood, reliability, too_few
from tlcl.statistics.conformal import true_class_scores
from tlcl.tracking.calibration import Calibration


class HeldOut(NamedTuple):
    """Images that what answers has not learned from.

    Attributes:
        probabilities: float (n, K), rows sum to 1.
        labels: int64 (n,).
        which: what they are, as what follows "on 100".
    """

    probabilities: Tensor
    labels: Tensor
    which: str


def calibrate(held_out: HeldOut) -> Calibration:
    """The temperature that fits these images best, or why there is none, and their scores."""
    given, labels, images = held_out.probabilities.numpy(), held_out.labels.numpy(), len(held_out.labels)
    temperature, reason = None, too_few(images)
    if reason is None and (given.argmax(1) == labels).all():
        reason = f"the answers to all {images:,} held-out images are right, so that none says how sure is too sure"
    if reason is None:
        temperature = fit_temperature(given, labels)
    scores = tuple(true_class_scores(given, labels).tolist())
    return Calibration(temperature, reason, images, held_out.which, scores)


def calibration_record(calibration: Calibration, probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """For the summary: how far the confidence in the answers to the test images is from their accuracy.

    Args:
        probabilities: (N, K) of the test images, before the temperature.
        labels: int (N,).
    """
    record: dict[str, Any] = {
        "temperature": calibration.temperature,
        "reason": calibration.reason,
        "images": calibration.images,
        "held_out": calibration.held_out,
    }
    fitted = calibration.temperature is not None
    for when, given in (("before", probabilities), ("after", calibration.calibrated(probabilities))):
        known = fitted or when == "before"
        record[f"test_ece_{when}"] = reliability(given, labels).ece if known else None
        record[f"test_nll_{when}"] = negative_log_likelihood(given, labels) if known else None
    return record
