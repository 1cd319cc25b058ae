"""The target's BatchNorm statistics in place of the source's."""

import torch
from torch import Tensor

from tlcl.adaptation.methods.base import batch_norm_momentum
from tlcl.adaptation.methods.source_only import SourceOnly
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks

BATCH = 256


@register("adaptation", "adabn", AdaptationConfig)
class AdaBN(SourceOnly):
    """AdaBN (Li et al. 2017, "Revisiting batch normalization for practical domain adaptation").

    Trains on the source alone. Then every BatchNorm layer, in frozen blocks too, takes the mean and variance of
    the target's training images, and nothing else changes: one pass in equal batches of up to 256 images, each
    normalised by its own statistics, whose averages over the batches remain. The validator sees the network before.
    """

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
