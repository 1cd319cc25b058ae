"""No adaptation: the lower end of the scale."""

from tlcl.adaptation.methods.base import NONE, AdaptationMethod, Step, single_domain
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@register("adaptation", "source_only", AdaptationConfig)
class SourceOnly(AdaptationMethod):
    """Cross-entropy of the source alone; the target is never looked at."""

    supervision = NONE
    from_images = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        return single_domain(net, pair.source)
