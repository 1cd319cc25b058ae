"""Both domains' features at a small maximum mean discrepancy."""

from dataclasses import dataclass

from torch import Tensor

from tlcl.adaptation.losses import mk_mmd
from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config.adaptation import AlignmentConfig
from tlcl.config.registry import register


@dataclass
class MMDConfig(AlignmentConfig):
    weight: float = 1.0


@register("adaptation", "mmd", MMDConfig)
class MMD(AligningMethod):
    """DAN (Long et al. 2015) on one block: task loss + weight * squared multi-kernel MMD of the block's outputs.

    The paper aligns several layers of AlexNet and learns the kernels' weights; here they are equal
    (`tlcl.adaptation.losses.mk_mmd`). The paper's constant weight is `ramp=none`; its network has no BatchNorm.
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return mk_mmd(domains.source, domains.target)
