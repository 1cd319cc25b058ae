"""What Domain Separation Networks have beside the network that is kept: private encoders and the shared decoder."""

import copy

from torch import Tensor, nn

from tlcl.adaptation.methods.base import sample_outputs
from tlcl.models.blocks import Blocks


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
