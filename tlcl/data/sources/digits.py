"""The embedded target domain: real handwritten digits."""

from dataclasses import dataclass
from typing import Annotated

import torch
from sklearn.datasets import load_digits as sklearn_digits

from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.shifts import SHIFTS, shifted
from tlcl.data.splits import stratified_order

TEST_SIZE = 400


@dataclass
class DigitsConfig(DataConfig):
    shift: Annotated[str, OneOf("none", *SHIFTS)] = "none"


def load_digits() -> Source:
    """`data=digits`: scikit-learn's 1,797 handwritten digits (Alpaydin & Kaynak 1998, UCI optdigits test set).

    8x8 grey, 0..16 scaled to 0..255. They come without a test split; 400 images, stratified, are set aside
    here with a fixed seed, so every run of every seed is tested on the same ones.
    """
    bunch = sklearn_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    classes = tuple(str(digit) for digit in range(10))
    order = stratified_order(labels, 0, "split/test")
    test, pool = order[:TEST_SIZE].sort().values, order[TEST_SIZE:].sort().values
    return Source(
        ImageTensors(images[pool], labels[pool], classes), ImageTensors(images[test], labels[test], classes)
    )


@register("data", "digits", DigitsConfig)
def load(config: DigitsConfig, cache_dir: str) -> Source:
    """The digits under `config.shift`."""
    return shifted(load_digits(), config.shift)
