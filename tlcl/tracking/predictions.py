"""`test_predictions.npz` read back: labels, probabilities and the mistakes' images."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Predictions(NamedTuple):
    """Test labels int (N,), probabilities (N, K), K class names, mistakes' places (M,) and uint8 (M, C, H, W)."""

    labels: np.ndarray
    probabilities: np.ndarray
    classes: list[str]
    mistakes: np.ndarray
    mistake_images: np.ndarray


def read_predictions(run_dir: Path) -> Predictions | None:
    """What `test_predictions.npz` and `labels.json` hold; None when either is missing or damaged."""
    try:
        classes = json.loads((run_dir / "labels.json").read_text())["classes"]
        with np.load(run_dir / "test_predictions.npz") as stored:
            return Predictions(
                stored["labels"],
                stored["probabilities"],
                [str(name) for name in classes],
                stored["mistake_index"],
                stored["mistake_images"],
            )
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
