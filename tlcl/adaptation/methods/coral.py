"""Both domains' features with equal covariances."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlcl.adaptation.losses import coral
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@dataclass
class CORALConfig(AlignmentConfig):
    weight: float = 1.0


@register("adaptation", "coral", CORALConfig)
class CORAL(AligningMethod):
    """Deep CORAL (Sun & Saenko 2016) on one block: task loss + weight * distance of the covariances.

    The distance grows with the fourth power of the features' unit and is divided by 4 D^2, so that the paper, whose
    network has no BatchNorm, chooses a weight such that both losses end at about the same size. Here its unit is
    the mean of ||C_s||^2 and ||C_t||^2 in the first batch, so that it begins between 0 and 2 for any network and
    block.
    """

    unit: Tensor

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        self.register_buffer("unit", torch.zeros(()))  # 0: not measured yet

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}unit", self.unit)  # checkpoints of before have none
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        with torch.no_grad():
            both = torch.stack([coral(one, torch.zeros_like(one)) for one in (domains.source, domains.target)])
            self.unit.copy_(torch.where(self.unit > 0, self.unit, both.mean()))
        return coral(domains.source, domains.target) / self.unit.clamp(min=torch.finfo(torch.float32).tiny)
