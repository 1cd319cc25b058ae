"""data=npz: images and labels in a NumPy file, with the arrays train_x, train_y, test_x, test_y and classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tlcl.config import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.errors import UserError
from tlcl.extend import register_data


@dataclass
class NpzConfig(DataConfig):
    file: str = "???"  # the .npz file; must be given


def load(config: NpzConfig) -> Source:
    """Images (N, H, W) grey or (N, H, W, 3) RGB, 0..255; labels (N,), 0..K-1; classes (K,), their names."""
    path = Path(config.file).expanduser()
    if not path.is_file():
        raise UserError(f"data.file={path} does not exist")
    arrays = np.load(path)  # without pickle: nothing in it can run
    classes = tuple(str(name) for name in arrays["classes"])

    def part(name: str) -> ImageTensors:
        images = torch.from_numpy(arrays[f"{name}_x"].astype(np.uint8))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return ImageTensors(images.contiguous(), torch.from_numpy(arrays[f"{name}_y"].astype(np.int64)), classes)

    return Source(pool=part("train"), test=part("test"))


register_data("npz", NpzConfig, load)
