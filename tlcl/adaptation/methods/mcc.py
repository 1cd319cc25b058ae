"""Predictions of the target that confuse no classes."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from tlcl.adaptation.losses import class_confusion
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import WeightedConfig
from tlcl.config.registry import register


@dataclass
class MCCConfig(WeightedConfig):
    ramp: str = "none"
    temperature: Annotated[float, Gt(0)] = 2.5


@register("adaptation", "mcc", MCCConfig)
class MCC(AligningMethod):
    """MCC (Jin et al. 2020): task loss + weight * class confusion of the target's predictions.

    `tlcl.adaptation.losses.class_confusion`; `weight` (1, constant) and `temperature` (2.5) are the defaults of
    Transfer-Learning-Library, whose authors are the paper's. There both domains pass the network as one batch, here
    each by itself (`passes`).
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return class_confusion(domains.target_logits, self.config.temperature)
