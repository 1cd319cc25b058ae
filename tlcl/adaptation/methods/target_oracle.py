"""All target labels: the upper end of the scale."""

from tlcl.adaptation.methods.base import ALL, AdaptationMethod, Step, single_domain
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@register("adaptation", "target_oracle", AdaptationConfig)
class TargetOracle(AdaptationMethod):
    """Cross-entropy of the target with all of its training labels; the source is never looked at.

    It sees as many target batches as the others, so an epoch is the source's.
    """

    supervision = ALL
    from_images = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        return single_domain(net, pair.target)
