"""First the source, then the few labelled target images: the baseline of methods with few labels."""

from torch import Tensor

from tlcl.adaptation.methods.base import Method, Step, classify
from tlcl.models.blocks import Blocks


class FineTune(Method):
    """Cross-entropy of the source for the first `source_share` of all steps, then of the labelled target images.

    Optimizer and learning rate schedule go on through both.
    """

    unlabelled = False

    def loss(
        self,
        net: Blocks,
        source: Tensor,
        source_labels: Tensor,
        target: Tensor,
        target_labels: Tensor,
        progress: float,
    ) -> Step:
        first = progress < self.config.source_share
        images, labels = (source, source_labels) if first else (target, target_labels)
        logits = net(images)
        task = classify(logits, labels)
        return Step(task, logits, labels, {"task": task})
