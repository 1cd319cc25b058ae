"""What a method is given: images, or the outputs of frozen blocks, computed once."""

import sys
from dataclasses import replace
from typing import NamedTuple

import torch

from tlcl.config.schema import Config
from tlcl.continual.methods.base import Method
from tlcl.continual.methods.registry import method_class
from tlcl.data.image_tensors import Source
from tlcl.data.versions import Versions, crops_in, warn_uncached
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks, place_words
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations

IMAGES = "images"


class Frozen(NamedTuple):
    """Outputs of frozen blocks that, computed once, are a method's inputs: at which place, of which versions."""

    place: str
    versions: Versions


def frozen_for(config: Config, net: Blocks, method: type[Method]) -> Frozen | None:
    """What is computed once; None: the method's inputs are images.

    Closed-form methods see each image once, as it is.
    """
    if method.closed_form:
        return Frozen(method.place(config.method, net), Versions(1))
    if config.trainer.shared or config.data.cache_prefix == "off":
        return None
    trainable = config.schedule.trainable(config.trainer.epochs - 1)
    versions = Versions.of(config.data, config.seed, cropped=crops_in(config.data, trainable))
    place = last_frozen(net, trainable)
    if place is not None and versions is None:
        warn_uncached("data", config.data.cache_prefix)
    return None if versions is None or place is None else Frozen(place, versions)


def cache_dtype(config: Config, method: type[Method]) -> str:
    """As in `Keeping`; closed-form methods add features up, which needs all their digits."""
    return "float32" if method.closed_form else config.data.cache_dtype


def frozen_outputs(
    config: Config, net: Blocks, source: Source, frozen: Frozen, device: torch.device
) -> tuple[Held, Held] | None:
    """Those outputs of the pool's images, in all versions, and of the test images, as they are.

    None when they cannot be kept; a closed form, which has no other inputs, has them in memory then.
    """
    assert config.method is not None
    kind = method_class(config.method)
    keeping = replace(Keeping.of(config), dtype=cache_dtype(config, kind))
    in_memory = replace(keeping, mode="ram", budget=sys.maxsize)
    if kind.closed_form and keeping.mode == "off":
        keeping = in_memory
    held: list[Held] = []
    for images, which in ((source.pool.images, frozen.versions), (source.test.images, Versions(1))):
        blocks = FrozenBlocks(net, images, which, device, config.trainer.of_frozen, config.trainer.progress)
        found = activations(blocks, [frozen.place], keeping)
        if not found and kind.closed_form:
            found = activations(blocks, [frozen.place], in_memory)
        held += found.values()
    return (held[0], held[1]) if len(held) == 2 else None


def check_inputs(config: Config, given: str, before: str | None) -> None:
    """That a resumed run gives its method what it has kept so far.

    Raises:
        UserError: it kept outputs that were computed once, and now gets images.
    """
    if before in (None, given):
        return
    began = f"the run began on outputs of {place_words(before or given)}, computed once"
    if config.trainer.shared:
        raise UserError(f"{began}, with which one process works alone; add trainer.devices=1 trainer.strategy=auto")
    raise UserError(f"{began}, and now they cannot be kept; make room in cache_dir={config.cache_dir}")
