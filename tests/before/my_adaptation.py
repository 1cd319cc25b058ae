"""adaptation=ddc: both domains' features with the same mean."""

from dataclasses import dataclass

from torch import Tensor

from tlcl.adaptation.methods.base import AligningMethod, Domains
from tlcl.config_adaptation import AlignmentConfig
from tlcl.errors import UserError
from tlcl.extend import register_adaptation


@dataclass
class DDCConfig(AlignmentConfig):
    weight: float = 0.25  # lambda of the paper; block, ramp and target_labels are those of every aligning method

    def __post_init__(self) -> None:
        if self.weight == 0:
            raise UserError("adaptation.weight=0 would align nothing; use adaptation=source_only")


class DDC(AligningMethod):
    """Deep domain confusion (Tzeng et al. 2014): task loss + weight |mean of the source - mean of the target|^2."""

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return (domains.source.float().mean(0) - domains.target.float().mean(0)).square().sum()


register_adaptation("ddc", DDCConfig, DDC)
