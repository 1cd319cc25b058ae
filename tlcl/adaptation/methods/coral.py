"""Both domains' features with equal covariances."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tlcl.adaptation.losses import coral
from tlcl.adaptation.methods.base import AligningMethod, Domains, InFirstUnits
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register


@dataclass
class CORALConfig(AlignmentConfig):
    weight: float = 1.0


@register("adaptation", "coral", CORALConfig)
class CORAL(InFirstUnits, AligningMethod):
    """Deep CORAL (Sun & Saenko 2016) on one block: task loss + weight * distance of the covariances.

    The distance grows with the fourth power of the features' unit and is divided by 4 D^2, so that the paper, whose
    network has no BatchNorm, chooses a weight such that both losses end at about the same size. Here its unit is
    the mean of ||C_s||^2 and ||C_t||^2 in the first batch, so that it begins between 0 and 2 for any network and
    block.
    """

    unit_before = 1.0  # the raw loss, for which the weight of such a run is

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        with torch.no_grad():
            both = torch.stack([coral(one, torch.zeros_like(one)) for one in (domains.source, domains.target)])
        unit = self.in_units(both.mean()).clamp(min=torch.finfo(torch.float32).tiny)
        return coral(domains.source, domains.target) / unit
