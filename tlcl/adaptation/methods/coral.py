"""Both domains' features with equal covariances."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tlcl.adaptation.losses import coral
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register


@dataclass
class CORALConfig(AlignmentConfig):
    weight: float = 1.0


@register("adaptation", "coral", CORALConfig)
class CORAL(AligningMethod):
    """Deep CORAL (Sun & Saenko 2016) on one block: task loss + weight * distance of the covariances.

    The distance grows with the fourth power of the features' unit and is divided by 4 D^2, so that the paper, whose
    network has no BatchNorm, chooses a weight such that both losses end at about the same size. Here it is in
    units of the source's covariance in the same batch, ||C_s - C_t||^2 / ||C_s||^2, which a step takes as given:
    about 1 for domains far apart, whatever the network and the block.
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        source = domains.source.detach()
        unit = coral(source, torch.zeros_like(source))  # ||C_s||^2 / (4 D^2)
        return coral(domains.source, domains.target) / unit.clamp(min=torch.finfo(unit.dtype).tiny)
