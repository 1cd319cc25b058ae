"""What the domains share and what is private to each are kept apart, and together rebuild the image."""

import copy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import normalize

from tlcl.adaptation.losses import domain_adversarial, mk_mmd, reverse_gradient
from tlcl.adaptation.methods.base import PairedMethod, Step, classification_loss, passes, sample_outputs
from tlcl.adaptation.methods.discriminator import discriminator
from tlcl.adaptation.pairs import Pair
from tlcl.config.adaptation import FewLabelsConfig
from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.models.blocks import INPUTS, Blocks


@dataclass
class DSNConfig(FewLabelsConfig):
    block: str = "features"
    reconstruction: Annotated[float, Ge(0)] = 0.64
    difference: Annotated[float, Ge(0)] = 0.0077
    weight: Annotated[float, Ge(0)] = 0.25
    similarity: Annotated[str, OneOf("dann", "mmd")] = "dann"
    similarity_from: Annotated[int, Ge(0)] = 100
    hidden: Annotated[int, Ge(1)] = 100


@register("adaptation", "dsn", DSNConfig)
class DSN(PairedMethod):
    """DSN (Bousmalis et al. 2016): task + alpha reconstruction + beta difference + gamma similarity.

    The shared encoder is the network up to `block`, the classifier what follows; each domain has a private encoder
    of the same architecture. Reconstruction and difference are sums over the two domains: the decoder rebuilds the
    network's normalised input from the sum of shared and private code (scale-invariant error), and the two codes
    are kept orthogonal. The similarity of the domains' shared codes is by a discriminator with reversed
    gradient (`dann`, the reversal at strength 1 as in the authors' code) or by `mmd`. As in the authors' code
    all three count from step `similarity_from` on; until then the task alone is learnt. Their weight of the
    reconstruction, 0.01, is of twice its sum over a batch of 32, which is 0.64 of the mean here; that of the
    difference, 0.075, of codes of 100 entries in that batch, which is 0.0077 here.

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
        both = passes(net, images[0], images[1], config.block, self.averages, start=INPUTS)
        shared = [codes(both.source), codes(both.target)]
        encoders = (self.source_encoder, self.target_encoder)
        domains = [self.separation(*parts) for parts in zip(images, shared, encoders, strict=True)]
        parts = {
            "task": classification_loss(both.source_logits, pair.source.labels)
            + classification_loss(both.target_logits, pair.target.labels),
            "reconstruction": domains[0][0] + domains[1][0],
            "difference": domains[0][1] + domains[1][1],
        }
        loss = parts["task"]
        if self.steps >= config.similarity_from:
            parts["similarity"] = self.similarity(shared[0], shared[1])
            loss = (
                loss
                + config.reconstruction * parts["reconstruction"]
                + config.difference * parts["difference"]
                + config.weight * parts["similarity"]
            )
        self.steps += 1
        return Step(loss, both.source_logits, pair.source.labels, parts)


def difference(private: Tensor, shared: Tensor) -> Tensor:
    """Keeps what is private to a domain orthogonal to what the domains share: ||P^T S||_F^2 / n^2.

    P and S are the representations with centred columns and then rows of unit length, which is not in the paper but
    in its authors' code. That divides by d_p d_s instead, so that a weight holds for one width and batch alone.

    Args:
        private: (n, d_p), of one domain.
        shared: (n, d_s), of the same images.

    Returns:
        Scalar, 0 (orthogonal) to 1.
    """
    # Rows shorter than 1e-6 stay short (as there): the gradient of a row at the mean would explode.
    rows, others = (normalize(x - x.mean(0), dim=1, eps=1e-6) for x in (private.float(), shared.float()))
    with torch.autocast(rows.device.type, enabled=False):
        return (rows.T @ others).square().sum() / len(rows) ** 2


def scale_invariant_mse(images: Tensor, reconstructions: Tensor) -> Tensor:
    """||d||^2 / k - (d . 1)^2 / k^2 for the error d of an image's k values, mean over the images.

    The variance of the error: a constant shift of an image's brightness costs nothing, its shapes do.

    Args:
        images, reconstructions: (n, ...), the same shape.

    Returns:
        Scalar, 0 or more.
    """
    return (images.float() - reconstructions.float()).flatten(1).var(1, correction=0).mean()


def codes(outputs: Tensor) -> Tensor:
    """Outputs of a block (B, ...) as vectors (B, D): maps keep every place, which the decoder needs."""
    return outputs.flatten(1)


def code_width(net: Blocks, block: str) -> int:
    """D of the `codes` of a block's outputs."""
    return int(codes(sample_outputs(net, block)).shape[1])


def private_encoder(net: Blocks, block: str) -> nn.Sequential:
    """A network like `net` from its normalised inputs to `block`, with new random weights of its own.

    New ones, since an encoder that began as a copy of the shared one would begin with all that is shared.

    Returns:
        (B, 3, size, size) -> outputs of `block` (B, ...).
    """
    parts = [part for place in net.places[: net.places.index(block) + 1] for part in net.parts(place)]
    encoder = nn.Sequential(*copy.deepcopy(parts))
    for module in encoder.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    # A frozen block of the network is no reason for its private counterpart to stay random.
    return encoder.requires_grad_(True)


class Decoder(nn.Module):
    """Codes back to images, in the manner of the authors' decoder for digits (Bousmalis et al. 2016).

    A hidden layer that is a small picture of three channels, two convolutions 5x5, enlarged to the images' size by
    repeating pixels, two convolutions 3x3; for 32-pixel images the small picture has 10x10 pixels, as there.

    Args:
        width: entries of a code.
        size: height and width of the images.
    """

    MAPS = 16

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.side = max(4, size * 5 // 16)
        self.hidden = nn.Linear(width, 3 * self.side**2)
        self.coarse = nn.Sequential(
            nn.Conv2d(3, self.MAPS, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(self.MAPS, self.MAPS, 5, padding=2),
            nn.ReLU(),
        )
        self.fine = nn.Sequential(
            nn.Upsample((size, size)),
            nn.Conv2d(self.MAPS, self.MAPS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.MAPS, 3, 3, padding=1),
        )

    def forward(self, code: Tensor) -> Tensor:
        """(B, width) -> normalised images (B, 3, size, size)."""
        picture = self.hidden(code).relu().unflatten(1, (3, self.side, self.side))
        images: Tensor = self.fine(self.coarse(picture))
        return images
