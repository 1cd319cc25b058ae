"""No adaptation: the lower end of the scale."""

from tlcl.adaptation.methods.base import NONE, Method, Step, single_domain
from tlcl.adaptation.pairs import Pair
from tlcl.models.blocks import Blocks


class SourceOnly(Method):
    """Cross-entropy of the source alone; the target is never looked at."""

    supervision = NONE

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        return single_domain(net, pair.source)
