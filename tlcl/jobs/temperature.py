"""The temperature that a run keeps with its model, by which its probabilities are calibrated."""

import math
from pathlib import Path

from torch import Tensor

from tlcl.errors import UserError
from tlcl.tracking.records import read_object

CALIBRATION = "calibration.json"


def recorded_temperature(run_dir: Path) -> float:
    """The temperature in the run's `calibration.json`; 1 where there is no such file, or none in it.

    Raises:
        UserError: it is no number above 0.
    """
    found = read_object(run_dir / CALIBRATION).get("temperature")
    if found is None:
        return 1.0
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise UserError(f"{run_dir / CALIBRATION} is damaged: temperature={found} must be a number above 0")
    return float(found)


def at_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """softmax(z / T) of the logits z that gave `probabilities` (N, K).

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 9.
    """
    return probabilities if temperature == 1 else (probabilities.log() / temperature).softmax(1)
