"""From the `adaptation` group to a method."""

import torch

from tlcl.adaptation.methods.base import AdaptationMethod
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import GROUPS
from tlcl.models.blocks import Blocks
from tlcl.seeding import derive_seed


def method_class(config: AdaptationConfig) -> type[AdaptationMethod]:
    """The class that `config.name` names."""
    found: type[AdaptationMethod] = GROUPS["adaptation"][config.name].thing
    return found


def build_method(config: AdaptationConfig, net: Blocks, seed: int) -> AdaptationMethod:
    """The method that `config.name` names, in its state before the training; the same for equal `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "adaptation"))
        return method_class(config)(config, net)
