"""First the source, then the few labelled target images: the baseline of methods with few labels."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Lt

from tlcl.adaptation.methods.base import AdaptationMethod, Step, single_domain
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import FewLabelsConfig, check_labelled
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@dataclass
class FineTuneConfig(FewLabelsConfig):
    target_labels: int = 5
    source_share: Annotated[float, Gt(0), Lt(1)] = 0.5

    def __post_init__(self) -> None:
        check_labelled(self)


@register("adaptation", "fine_tune", FineTuneConfig)
class FineTune(AdaptationMethod):
    """Cross-entropy of the source for the first `source_share` of all steps, then of the labelled target images.

    Optimizer and learning rate schedule go on through both.
    """

    unlabelled = False
    from_images = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        return single_domain(net, pair.source if progress < self.config.source_share else pair.target)
