"""Few labelled target images: equal classes together, different ones a margin apart."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from tlcl.adaptation.losses import ccsa
from tlcl.adaptation.methods.base import PairedMethod, Step, both_domains, classification_loss, strength
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import AlignmentConfig, check_labelled
from tlcl.config.registry import register
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks


@dataclass
class CCSAConfig(AlignmentConfig):
    target_labels: int = 5
    weight: float = 0.25
    ramp: str = "none"
    margin: Annotated[float, Gt(0)] = 1.0

    def __post_init__(self) -> None:
        check_labelled(self)
        if self.weight > 1:
            raise UserError(
                f"adaptation.weight={self.weight} must be at most 1: what the pairs weigh, the classification loses"
            )


@register("adaptation", "ccsa", CCSAConfig)
class CCSA(PairedMethod):
    """CCSA (Motiian et al. 2017): (1 - weight) cross-entropy of the source + weight * contrastive loss.

    The contrastive loss is over all pairs of a source image and a labelled target image of the batch
    (`tlcl.adaptation.losses.ccsa`), on the outputs of `block`; `weight` is the authors' alpha (0.25 in their code),
    `margin` theirs (1). Target images are in pairs alone, as in the paper: their cross-entropy is not taken. The
    authors' network has no BatchNorm.
    """

    unlabelled = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        source, target = pair
        domains = both_domains(net, source.images, target.images, self.config.block, self.averages)
        task = classification_loss(domains.source_logits, source.labels)
        pairs = ccsa(domains.source, source.labels, domains.target, target.labels, self.config.margin)
        weight = strength(self.config, progress)
        loss = (1 - weight) * task + weight * pairs
        return Step(loss, domains.source_logits, source.labels, {"task": task, "alignment": pairs})
