"""The target's BatchNorm statistics in place of the source's."""

from typing import Any

from torch import Tensor

from tlcl.adaptation.methods.source_only import SourceOnly
from tlcl.adaptation.pooled_moments import pool_batch_norm
from tlcl.adaptation.source_averages import averaging
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import register
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks


@register("adaptation", "adabn", AdaptationConfig)
class AdaBN(SourceOnly):
    """AdaBN (Li et al. 2017, "Revisiting batch normalization for practical domain adaptation").

    Trains on the source alone. Then every BatchNorm layer, in frozen blocks too, takes the mean and variance of
    its inputs over all of the target's training images, and nothing else changes: see
    `tlcl.adaptation.pooled_moments`. Neither the order of the images nor a batch size enters (files of a folder
    come sorted by class, so that the statistics of a batch would be those of a class). The validator sees the
    network before.

    Raises:
        UserError: the network has no BatchNorm layers, or none that keeps averages.
    """

    swaps_averages = True

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        if not averaging(net):
            raise UserError(
                "adaptation=adabn changes the averages of BatchNorm layers alone, and this model has none; use a "
                "model that has, e.g. model=resnet18, or a method that aligns outputs, e.g. adaptation=coral"
            )

    def finish(self, net: Blocks, target: Tensor) -> None:
        pool_batch_norm(net, target)
