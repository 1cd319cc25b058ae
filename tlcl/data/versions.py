"""The versions of each image that augmentation draws from, when they are few enough to be computed once."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from tlcl.config.schema import DataConfig
from tlcl.data.augment import random_crop, random_flip
from tlcl.seeding import generator


@dataclass(frozen=True)
class Versions:
    """How many versions an image has, and what they are; version 0 is the image itself.

    Attributes:
        count: 1 without augmentation, 2 with flips alone (exactly what is drawn without a cache), else the number
            of crops and flips that are drawn once, from the seed.
    """

    count: int
    crop_padding: int = 0
    flip: bool = False
    seed: int = 0

    @classmethod
    def of(cls, config: DataConfig, seed: int) -> "Versions | None":
        """What the config's augmentation draws from; None when each epoch has crops of its own."""
        if config.crop_padding == 0:
            return cls(2 if config.flip else 1)
        if config.cached_views is None:
            return None
        return cls(config.cached_views, config.crop_padding, config.flip, seed)

    def render(self, batches: Iterator[Tensor], version: int) -> Iterator[Tensor]:
        """That version of images that come batch by batch, always in the same order.

        Args:
            batches: uint8 (B, C, H, W) each, on the CPU.
        """
        random = generator(self.seed, "version", epoch=version)
        for images in batches:
            if version == 0:
                yield images
            elif self.crop_padding == 0:
                yield images.flip(-1)
            else:
                crops = random_crop(images, self.crop_padding, random)
                yield random_flip(crops, random) if self.flip else crops
