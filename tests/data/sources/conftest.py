"""CIFAR-10 as it lies on a disk, with made-up images."""

import pickle
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def fabricate_cifar10(root: Path) -> np.ndarray:
    """The files of CIFAR-10 in their real layout, ten images each; returns all rows, test batch last."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rows = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = {"data": rows[10 * number : 10 * number + 10], "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(part))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR10_CLASSES}))
    return rows
