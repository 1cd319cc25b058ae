"""A discriminator learns to tell the domains apart, the network to prevent it."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from tlcl.adaptation.losses import domain_adversarial, reverse_gradient
from tlcl.adaptation.methods.base import AligningMethod, Domains, strength, width
from tlcl.adaptation.methods.discriminator import discriminator
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@dataclass
class DANNConfig(AlignmentConfig):
    hidden: Annotated[int, Ge(1)] = 256


@register("adaptation", "dann", DANNConfig)
class DANN(AligningMethod):
    """DANN (Ganin et al. 2016): the gradient of the domain loss is reversed on its way into the network.

    `weight` and `ramp` are the strength of the reversal alone (the paper's lambda): the discriminator learns at
    full rate from the first step. The paper's networks have no BatchNorm.
    """

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        self.discriminator = discriminator(self.inputs(net), config.hidden)

    def inputs(self, net: Blocks) -> int:
        """What the discriminator takes: the number of entries."""
        return width(net, self.config.block)

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        reversal = strength(self.config, progress)
        logits = [
            self.discriminator(reverse_gradient(vectors, reversal)).squeeze(1)
            for vectors in (domains.source, domains.target)
        ]
        return domain_adversarial(logits[0], logits[1])

    # The weight is in the reversal: here it would slow the discriminator.
    def total(self, task: Tensor, alignment: Tensor, progress: float) -> Tensor:
        return task + alignment
