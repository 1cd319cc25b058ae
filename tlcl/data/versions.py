"""The versions of each image that augmentation draws from, when they are few enough to be computed once."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tlcl.config.schema import DataConfig
from tlcl.data.augment import random_colour, random_crop, random_flip, random_resized_crop
from tlcl.seeding import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crops:
    """What training draws besides mirror images.

    Attributes:
        padding, area, colour: `data.crop_padding`, `data.crop_area` and `data.colour`.
    """

    padding: int = 0
    area: float | None = None
    colour: float = 0.0

    @classmethod
    def of(cls, config: DataConfig) -> "Crops":
        return cls(config.crop_padding, config.crop_area, config.colour)

    def __bool__(self) -> bool:
        return self != Crops()

    def named(self) -> str:
        """The keys that are not as in `Crops()`, with their values."""
        keys = {"crop_padding": self.padding, "crop_area": self.area, "colour": self.colour}
        return " ".join(f"data.{key}={value}" for key, value in keys.items() if value)

    def draw(self, images: Tensor, random: torch.Generator) -> Tensor:
        """A version of each image: uint8 (B, C, H, W) of the same shape; `random` on their device."""
        images = random_crop(images, self.padding, random)
        if self.area is not None:
            images = random_resized_crop(images, self.area, random)
        return random_colour(images, self.colour, random)


@dataclass(frozen=True)
class Versions:
    """How many versions an image has, and what they are; version 0 is the image itself.

    Attributes:
        count: 1 without augmentation, 2 with flips alone (exactly what is drawn without a cache), else the number
            of crops and flips that are drawn once, from the seed.
    """

    count: int
    crops: Crops = Crops()
    flip: bool = False
    seed: int = 0

    @classmethod
    def of(cls, config: DataConfig, seed: int, *, cropped: bool) -> "Versions | None":
        """What the config's augmentation draws from; None when each epoch has crops of its own.

        Args:
            cropped: whether there are crops, see `crops_in`.
        """
        crops = Crops.of(config)
        if not cropped or not crops:
            return cls(2 if config.flip else 1)
        if config.cached_views is None:
            return None
        return cls(config.cached_views, crops, config.flip, seed)

    def __repr__(self) -> str:
        """As it was before there were more than padded crops: the keys of the caches hold it."""
        text = f"Versions(count={self.count}, crop_padding={self.crops.padding}, flip={self.flip}, seed={self.seed}"
        more = "" if self.crops == Crops(self.crops.padding) else f", {self.crops}"
        return f"{text}{more})"

    def render(self, batches: Iterator[Tensor], version: int) -> Iterator[Tensor]:
        """That version of images that come batch by batch, always in the same order.

        Args:
            batches: uint8 (B, C, H, W) each, on the CPU.
        """
        random = generator(self.seed, "version", epoch=version)
        for images in batches:
            if version == 0:
                yield images
            elif not self.crops:
                yield images.flip(-1)
            else:
                drawn = self.crops.draw(images, random)
                yield random_flip(drawn, random) if self.flip else drawn


def warn_uncached(group: str, cache_prefix: str) -> None:
    """Say that a cache which was asked for stays empty, where `Versions.of` of `group` is None."""
    if cache_prefix in ("ram", "disk"):
        log.warning(
            "warning: data.cache_prefix=%s keeps nothing: %s.crop_padding, crop_area or colour draws anew in every "
            "epoch", cache_prefix, group,
        )  # fmt: skip


def crops_in(config: DataConfig, trainable: Collection[str]) -> bool:
    """Whether training draws crops while `trainable` blocks train: not for the head alone, whose inputs move on.

    Unless `data.crop_head` says so. (On frozen features crops cost accuracy, and the frozen blocks would be
    computed in every epoch.)
    """
    return config.crop_head or set(trainable) != {"head"}
