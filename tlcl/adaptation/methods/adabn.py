"""The target's BatchNorm statistics in place of the source's."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tlcl.adaptation.methods.base import batch_norm_momentum
from tlcl.adaptation.methods.source_only import SourceOnly
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import register
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks

BATCH = 256


@register("adaptation", "adabn", AdaptationConfig)
class AdaBN(SourceOnly):
    """AdaBN (Li et al. 2017, "Revisiting batch normalization for practical domain adaptation").

    Trains on the source alone. Then every BatchNorm layer, in frozen blocks too, takes the mean and variance of
    the target's training images, and nothing else changes: one pass in equal batches of up to 256 images, each
    normalised by its own statistics, whose averages over the batches remain. The validator sees the network before.

    Raises:
        UserError: the network has no BatchNorm layers, or none that keeps averages.
    """

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        layers = [module for module in net.modules() if isinstance(module, _BatchNorm)]
        if not any(layer.running_mean is not None for layer in layers):
            raise UserError(
                "adaptation=adabn changes the averages of BatchNorm layers alone, and this model has none; use a "
                "model that has, e.g. model=resnet18, or a method that aligns outputs, e.g. adaptation=coral"
            )

    @torch.no_grad()
    def finish(self, net: Blocks, target: Tensor) -> None:
        net.eval()
        with batch_norm_momentum(net, None) as layers:
            for layer in layers:
                layer.reset_running_stats()
                layer.train()
            for images in target.tensor_split(-(-len(target) // BATCH)):
                net(images.to(net.inputs.mean.device))
        net.eval()
