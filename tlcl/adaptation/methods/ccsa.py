"""Few labelled target images: equal classes together, different ones a margin apart."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from tlcl.adaptation.losses import ccsa, mean_distance
from tlcl.adaptation.methods.base import Domains, InFirstUnits, Step, both_domains, classification_loss, growth
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import FewLabelsConfig, check_labelled
from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks

AUTHORS_NETWORK = "small_cnn"
WEIGHTS = {"relative": 0.75, "raw": 0.25}  # of raw distances the authors'


@dataclass
class CCSAConfig(FewLabelsConfig):
    target_labels: int = 5
    block: str = "features"
    weight: Annotated[float | None, Ge(0)] = None
    ramp: Annotated[str, OneOf("none", "dann")] = "none"
    margin: Annotated[float, Gt(0)] = 1.0
    distances: Annotated[str | None, OneOf("relative", "raw")] = None

    def __post_init__(self) -> None:
        check_labelled(self)
        if self.weight is not None and self.weight > 1:
            raise UserError(
                f"adaptation.weight={self.weight} must be at most 1: what the pairs weigh, the classification loses"
            )

    @property
    def used_weight(self) -> float:
        """What null means for the distances that there are."""
        return WEIGHTS[self.distances or "relative"] if self.weight is None else self.weight

    def on(self, model: str) -> Self:
        if self.distances is not None:
            return self
        return replace(self, distances="raw" if model == AUTHORS_NETWORK else "relative")


@register("adaptation", "ccsa", CCSAConfig)
class CCSA(InFirstUnits):
    """CCSA (Motiian et al. 2017): (1 - weight) cross-entropy of the source + weight * contrastive loss.

    The contrastive loss is over all pairs of a source image and a labelled target image of the batch
    (`tlcl.adaptation.losses.ccsa`), on the outputs of `block`. Target images are in pairs alone, as in the paper:
    their cross-entropy is not taken. The authors' network has no BatchNorm, and 84 outputs whose distances are near
    their margin. Those of other networks are not (of ResNet-18's 512 pooled ones the alignment begins at 50 times
    the cross-entropy), so that `distances` are `relative` there: the mean one between images of different classes
    in the first batch is 1. `raw`: as they are, with the authors' weight (their alpha, 0.25 in their code) where
    none is given; the default on `small_cnn`, a network like theirs: it begins at random, with all outputs near
    each other, and held to that unit it cannot learn the source. The margin is theirs (1).
    """

    unlabelled = False
    from_images = False

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        self.distances = config.distances or "relative"
        self.weight = config.used_weight

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "distances": self.distances, "weight": self.weight}

    def measured(self, pair: Pair, domains: Domains) -> Tensor:
        """The unit of the distances: that of the first batch."""
        if self.distances == "raw":
            return torch.ones_like(self.unit)
        with torch.no_grad():
            first = mean_distance(domains.source, pair.source.labels, domains.target, pair.target.labels)
        return self.in_units(first)

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        source, target = pair
        domains = both_domains(net, source.images, target.images, self.config.block, self.averages)
        task = classification_loss(domains.source_logits, source.labels)
        unit = self.measured(pair, domains)
        ours, theirs = domains.source / unit, domains.target / unit
        pairs = ccsa(ours, source.labels, theirs, target.labels, self.config.margin)
        weight = self.weight * growth(self.config.ramp, progress)
        loss = (1 - weight) * task + weight * pairs
        return Step(loss, domains.source_logits, source.labels, {"task": task, "alignment": pairs})
