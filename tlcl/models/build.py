"""From the `model` group to blocks without or with weights."""

import torch

from tlcl.config.schema import ModelConfig
from tlcl.config.thaw import BLOCKS
from tlcl.errors import UserError
from tlcl.models import efficientnet_lite0, resnet18, small_cnn
from tlcl.models.blocks import Backbone, Blocks, InputTransform
from tlcl.seeding import derive_seed

BACKBONES: dict[str, Backbone] = {
    module.BACKBONE.name: module.BACKBONE for module in (resnet18, efficientnet_lite0, small_cnn)
}


def build_model(config: ModelConfig, num_classes: int, seed: int) -> tuple[Blocks, Backbone]:
    """A freshly initialised network, the same for equal `seed`; see `apply_weights` for its weights.

    Raises:
        UserError: a user's own backbone whose blocks have other names.
    """
    backbone = BACKBONES[config.name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        blocks = backbone.build(num_classes, config)
    if tuple(blocks) != BLOCKS:
        raise UserError(f"model={config.name} has the blocks {', '.join(blocks)}; they must be {', '.join(BLOCKS)}")
    return Blocks(InputTransform(config.input_size, backbone.mean, backbone.std), blocks, backbone.code), backbone
