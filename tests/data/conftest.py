"""Tiny images of one value each, and a data module of them."""

import torch

from tlcl.config.schema import DataConfig
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source

CLASSES = ("a", "b", "c")


def tensors(count: int, first: int = 0) -> ImageTensors:
    """Image i is full of the value first + i, so that a batch shows where it came from."""
    values = torch.arange(first, first + count, dtype=torch.uint8)
    return ImageTensors(values[:, None, None, None].repeat(1, 1, 4, 4), torch.arange(count) % 3, CLASSES)


def tiny_module(crop_padding: int = 0, flip: bool = False, seed: int = 0) -> ImageDataModule:
    config = DataConfig("tiny", val_size=9, batch_size=8, crop_padding=crop_padding, flip=flip)
    return ImageDataModule(Source(tensors(60, 1), tensors(20, 100)), config, seed)
