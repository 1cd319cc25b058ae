"""First the source, then the few labelled target images: the baseline of methods with few labels."""

from tlcl.adaptation.methods.base import Method, Step, single_domain
from tlcl.adaptation.pairs import Pair
from tlcl.models.blocks import Blocks


class FineTune(Method):
    """Cross-entropy of the source for the first `source_share` of all steps, then of the labelled target images.

    Optimizer and learning rate schedule go on through both.
    """

    unlabelled = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        return single_domain(net, pair.source if progress < self.config.source_share else pair.target)
