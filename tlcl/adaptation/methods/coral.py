"""Both domains' features with equal covariances."""

from torch import Tensor

from tlcl.adaptation.losses import coral
from tlcl.adaptation.methods.base import AligningMethod, Domains


class CORAL(AligningMethod):
    """Deep CORAL (Sun & Saenko 2016) on one block: task loss + weight * distance of the covariances.

    The loss is divided by 4 D^2, so its weight is large for wide blocks: the paper chooses it such that both losses
    end at about the same size. Its network has no BatchNorm.
    """

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        return coral(domains.source, domains.target)
