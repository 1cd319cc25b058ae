"""Both domains' features with equal covariances."""

from dataclasses import dataclass

from torch import Tensor

from tlcl.adaptation.losses import coral
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register


@dataclass
class CORALConfig(AlignmentConfig):
    weight: float = 1000.0


@register("adaptation", "coral", CORALConfig)
class CORAL(AligningMethod):
    """Deep CORAL (Sun & Saenko 2016) on one block: task loss + weight * distance of the covariances.

    The loss is divided by 4 D^2, so its weight is large for wide blocks: the paper chooses it such that both losses
    end at about the same size. Its network has no BatchNorm.
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return coral(domains.source, domains.target)
