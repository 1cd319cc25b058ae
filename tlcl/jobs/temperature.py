"""The temperature that a run keeps with its model, by which its probabilities are calibrated."""

import json
import math
from pathlib import Path

from torch import Tensor

from tlcl.errors import UserError

CALIBRATION = "calibration.json"


def recorded_temperature(run_dir: Path) -> float:
    """The temperature in the run's `calibration.json`; 1 where there is no such file, or none in it.

    Raises:
        UserError: the file is damaged.
    """
    path = run_dir / CALIBRATION
    if not path.is_file():
        return 1.0
    try:
        found = dict(json.loads(path.read_bytes())).get("temperature")
        temperature = 1.0 if found is None else float(found)
    except (OSError, TypeError, ValueError, RecursionError):
        temperature = math.nan
    if not 0 < temperature < math.inf:
        raise UserError(f"{path} is damaged: its temperature must be a number above 0, or null")
    return temperature


def at_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """softmax(z / T) of the logits z that gave `probabilities` (N, K).

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 9.
    """
    return probabilities if temperature == 1 else (probabilities.log() / temperature).softmax(1)
