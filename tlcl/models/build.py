"""From the `model` group to blocks without or with weights."""

import torch

from tlcl.config.registry import GROUPS
from tlcl.config.schema import ModelConfig
from tlcl.config.thaw import BLOCKS
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone, Blocks, InputTransform
from tlcl.seeding import derive_seed


def backbone_of(config: ModelConfig) -> Backbone:
    """The backbone that `config.name` names."""
    found: Backbone = GROUPS["model"][config.name].thing
    return found


def build_model(config: ModelConfig, num_classes: int, seed: int) -> tuple[Blocks, Backbone]:
    """A freshly initialised network, the same for equal `seed`; see `apply_weights` for its weights.

    Raises:
        UserError: a user's own backbone whose blocks have other names.
    """
    backbone = backbone_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        blocks = backbone.build(num_classes, config)
    if tuple(blocks) != BLOCKS:
        raise UserError(f"model={config.name} has the blocks {', '.join(blocks)}; they must be {', '.join(BLOCKS)}")
    return Blocks(InputTransform(config.input_size, backbone.mean, backbone.std), blocks, backbone.code), backbone
