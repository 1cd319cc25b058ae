"""The target's BatchNorm statistics in place of the source's."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tlcl.adaptation.methods.source_only import SourceOnly
from tlcl.models.blocks import Blocks

BATCH = 256


class AdaBN(SourceOnly):
    """AdaBN (Li et al. 2017, "Revisiting batch normalization for practical domain adaptation").

    Trains on the source alone. Then every BatchNorm layer, in frozen blocks too, takes the mean and variance of
    the target's training images, and nothing else changes: one pass in equal batches of up to 256 images, each
    normalised by its own statistics, whose averages over the batches remain. The validator sees the network before.
    """

    @torch.no_grad()
    def finish(self, net: Blocks, target: Tensor) -> None:
        net.eval()
        layers = [module for module in net.modules() if isinstance(module, _BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # an average in which all batches weigh the same
            layer.train()
        for images in target.tensor_split(-(-len(target) // BATCH)):
            net(images.to(net.inputs.mean.device))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        net.eval()
