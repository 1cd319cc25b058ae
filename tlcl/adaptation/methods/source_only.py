"""No adaptation: the lower end of the scale."""

from torch import Tensor

from tlcl.adaptation.methods.base import NONE, Method, Step, classify
from tlcl.models.blocks import Blocks


class SourceOnly(Method):
    """Cross-entropy of the source alone; the target is never looked at."""

    supervision = NONE

    def loss(
        self,
        net: Blocks,
        source: Tensor,
        source_labels: Tensor,
        target: Tensor,
        target_labels: Tensor,
        progress: float,
    ) -> Step:
        logits = net(source)
        task = classify(logits, source_labels)
        return Step(task, logits, source_labels, {"task": task})
