"""A discriminator that sees features and predictions together."""

from dataclasses import dataclass

from torch import Tensor

from tlcl.adaptation.losses import domain_adversarial, entropy_weights, multilinear_map, reverse_gradient
from tlcl.adaptation.methods.base import Domains, strength, width
from tlcl.adaptation.methods.dann import DANN, DANNConfig
from tlcl.config.registry import register
from tlcl.models.blocks import Blocks


@dataclass
class CDANConfig(DANNConfig):
    entropy: bool = True


@register("adaptation", "cdan", CDANConfig)
class CDAN(DANN):
    """CDAN (Long et al. 2018): DANN on the outer product of the block's outputs and the class probabilities.

    With `entropy` it is CDAN+E: images weigh by how certain their prediction is. As in the authors' code each
    domain passes on its own and the probabilities pass no gradient on; unlike there, the entropy weights do not
    either. The paper's random projection for large products is left out.
    """

    def inputs(self, net: Blocks) -> int:
        return width(net, self.config.block) * net.classifier.out_features

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        reversal = strength(self.config, progress)
        pairs = ((domains.source, domains.source_logits), (domains.target, domains.target_logits))
        logits: list[Tensor] = []
        weights: list[Tensor | None] = []
        for vectors, predicted in pairs:
            probabilities = predicted.detach().float().softmax(1)
            joint = multilinear_map(reverse_gradient(vectors, reversal), probabilities.to(vectors.dtype))
            logits.append(self.discriminator(joint).squeeze(1))
            weights.append(entropy_weights(probabilities) if self.config.entropy else None)
        return domain_adversarial(logits[0], logits[1], weights[0], weights[1])
