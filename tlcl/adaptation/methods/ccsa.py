"""Few labelled target images: equal classes together, different ones a margin apart."""

from tlcl.adaptation.losses import ccsa
from tlcl.adaptation.methods.base import Method, Step, both_domains, classify, strength
from tlcl.adaptation.pairs import Pair
from tlcl.models.blocks import Blocks


class CCSA(Method):
    """CCSA (Motiian et al. 2017): (1 - weight) cross-entropy of the source + weight * contrastive loss.

    The contrastive loss is over all pairs of a source image and a labelled target image of the batch
    (`tlcl.adaptation.losses.ccsa`), on the outputs of `block`; `weight` is the authors' alpha (0.25 in their code),
    `margin` theirs (1). Target images are in pairs alone, as in the paper: their cross-entropy is not taken. The
    authors' network has no BatchNorm.
    """

    unlabelled = False

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        source, target = pair
        domains = both_domains(net, source.images, target.images, self.config.block)
        task = classify(domains.source_logits, source.labels)
        pairs = ccsa(domains.source, source.labels, domains.target, target.labels, self.config.margin)
        weight = strength(self.config, progress)
        loss = (1 - weight) * task + weight * pairs
        return Step(loss, domains.source_logits, source.labels, {"task": task, "alignment": pairs})
