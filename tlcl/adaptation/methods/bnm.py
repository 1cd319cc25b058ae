"""Predictions of the target that are certain and of many classes."""

from dataclasses import dataclass

from torch import Tensor

from tlcl.adaptation.losses import nuclear_norm
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import WeightedConfig
from tlcl.config.registry import register


@dataclass
class BNMConfig(WeightedConfig):
    ramp: str = "none"


@register("adaptation", "bnm", BNMConfig)
class BNM(AligningMethod):
    """BNM (Cui et al. 2020): task loss - weight * mean singular value of the target's predictions.

    `tlcl.adaptation.losses.nuclear_norm`; `weight` (1, constant) is that of the authors' code, where too each
    domain passes the network by itself.
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return -nuclear_norm(domains.target_logits)
