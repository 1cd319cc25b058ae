"""What the domains share and what is private to each are kept apart, and together rebuild the image."""

from typing import Any

import torch
from torch import Tensor

from tlcl.adaptation.dsn_losses import difference, scale_invariant_mse
from tlcl.adaptation.dsn_networks import Decoder, code_width, codes, private_encoder
from tlcl.adaptation.losses import domain_adversarial, mk_mmd, reverse_gradient
from tlcl.adaptation.methods.base import Method, Step, classify, passes
from tlcl.adaptation.methods.discriminator import discriminator
from tlcl.adaptation.pairs import Pair
from tlcl.models.blocks import INPUTS, Blocks


class DSN(Method):
    """DSN (Bousmalis et al. 2016): task + alpha reconstruction + beta difference + gamma similarity.

    The shared encoder is the network up to `block`, the classifier what follows; each domain has a private encoder
    of the same architecture. Reconstruction and difference are sums over the two domains: the decoder rebuilds the
    network's normalised input from the sum of shared and private code (scale-invariant error), and the two codes
    are kept orthogonal. The similarity of the domains' shared codes, by a discriminator with reversed gradient
    (`dann`, the reversal at strength 1 as in the authors' code) or by `mmd`, counts from step `similarity_from` on;
    until then the shared code is learnt without it. The weights hold for `tlcl.adaptation.dsn_losses`.

    Each domain passes the shared encoder by itself (see `passes` for what that is to BatchNorm) and its own
    private one. Only the network is tested and exported.
    """

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        width = code_width(net, config.block)
        self.source_encoder = private_encoder(net, config.block)
        self.target_encoder = private_encoder(net, config.block)
        self.decoder = Decoder(width, net.inputs.size)
        # With mmd nothing tells the domains apart that would have to be learnt.
        self.discriminator = discriminator(width, config.hidden) if config.similarity == "dann" else None
        self.steps = 0  # taken; a plain number, since reading a tensor's would make a GPU wait in every step

    def get_extra_state(self) -> dict[str, int]:
        """What the checkpoint holds beside parameters and buffers."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]

    def similarity(self, source: Tensor, target: Tensor) -> Tensor:
        """Of shared codes (n, D) and (m, D): a scalar, small for domains that cannot be told apart."""
        if self.discriminator is None:
            return mk_mmd(source, target)
        logits = [self.discriminator(reverse_gradient(part, 1.0)).squeeze(1) for part in (source, target)]
        return domain_adversarial(logits[0], logits[1])

    def separation(self, images: Tensor, shared: Tensor, encoder: torch.nn.Module) -> tuple[Tensor, Tensor]:
        """(reconstruction, difference) of one domain.

        Args:
            images: normalised (n, 3, size, size).
            shared: their shared codes (n, D).
        """
        private = codes(encoder(images))
        return scale_invariant_mse(images, self.decoder(shared + private)), difference(private, shared)

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        config = self.config
        images = [net(batch.images, stop=INPUTS) for batch in pair]
        both = passes(net, images[0], images[1], config.block, start=INPUTS)
        shared = [codes(both.source), codes(both.target)]
        encoders = (self.source_encoder, self.target_encoder)
        domains = [self.separation(*parts) for parts in zip(images, shared, encoders, strict=True)]
        parts = {
            "task": classify(both.source_logits, pair.source.labels)
            + classify(both.target_logits, pair.target.labels),
            "reconstruction": domains[0][0] + domains[1][0],
            "difference": domains[0][1] + domains[1][1],
        }
        loss = (
            parts["task"]
            + config.reconstruction * parts["reconstruction"]
            + config.difference * parts["difference"]
        )
        if self.steps >= config.similarity_from:
            parts["similarity"] = self.similarity(shared[0], shared[1])
            loss = loss + config.weight * parts["similarity"]
        self.steps += 1
        return Step(loss, both.source_logits, pair.source.labels, parts)
