"""All target labels: the upper end of the scale."""

from torch import Tensor

from tlcl.adaptation.methods.base import ALL, Method, Step, classify
from tlcl.models.blocks import Blocks


class TargetOracle(Method):
    """Cross-entropy of the target with all of its training labels; the source is never looked at.

    It sees as many target batches as the others, so an epoch is the source's.
    """

    supervision = ALL

    def loss(
        self,
        net: Blocks,
        source: Tensor,
        source_labels: Tensor,
        target: Tensor,
        target_labels: Tensor,
        progress: float,
    ) -> Step:
        logits = net(target)
        task = classify(logits, target_labels)
        return Step(task, logits, target_labels, {"task": task})
