"""`calibration.json` of a run: what its held-out predictions say of how sure its answers may be."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.errors import UserError
from tlcl.statistics.calibration import tempered
from tlcl.tracking.records import RunDirectory

CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """What is known of a run's held-out predictions; by default nothing, as of runs from before there was a file.

    Attributes:
        temperature: see `tlcl.statistics.calibration.tempered`; None where none was fitted.
        reason: why none was.
        images: how many were held out.
        held_out: which ones, as what follows "on 100".
        scores: see `tlcl.statistics.conformal.true_class_scores`, of the probabilities as the network gives them: a
            limit on them promises what it does whatever the temperature is.
    """

    temperature: float | None = None
    reason: str | None = "it kept no held-out predictions"
    images: int = 0
    held_out: str = "held-out images"
    scores: tuple[float, ...] = ()

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Of probabilities (N, K) as the network gives them; without a temperature the same."""
        return probabilities if self.temperature is None else tempered(probabilities, self.temperature)


def write_calibration(directory: RunDirectory, calibration: Calibration) -> None:
    directory.write_json(CALIBRATION, asdict(calibration))


def read_calibration(run_dir: Path) -> Calibration:
    """What the run kept; of one without the file, that nothing is known.

    Raises:
        UserError: the file is damaged.
    """
    path = run_dir / CALIBRATION
    if not path.is_file():
        return Calibration()
    try:
        return _checked(dict(json.loads(path.read_bytes())))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (KeyError, OverflowError, TypeError, ValueError, RecursionError):
        raise UserError(
            f"{path} is damaged: it must hold a temperature above 0 or null, and ascending scores from 0 to 1"
        ) from None


def _checked(stored: dict[str, Any]) -> Calibration:
    """A `ValueError` or another of Python's for what no run writes."""
    temperature, scores = stored["temperature"], tuple(float(score) for score in stored["scores"])
    if temperature is not None and not 0 < float(temperature) < math.inf:
        raise ValueError(temperature)
    if not all(0 <= score <= 1 for score in scores) or list(scores) != sorted(scores):
        raise ValueError(scores)
    return Calibration(
        None if temperature is None else float(temperature),
        None if stored["reason"] is None else str(stored["reason"]),
        int(stored["images"]),
        str(stored["held_out"]),
        scores,
    )
