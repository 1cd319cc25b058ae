"""A network without its frozen beginning."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tlcl.models.blocks import FEATURES, Blocks, are_vectors, beside, places_of
from tlcl.models.chunks import run
from tlcl.models.inference import autocast
from tlcl.models.layouts import NHWC


class Tail(nn.Module):
    """What comes after `start` of a network: its modules, shared, with activations as inputs.

    Args:
        start: a block, or `features`.
        ndim: dimensions of a batch of its outputs. Examples with one dimension more have versions (B, V, ...), of
            which the first, the image itself, is taken.
        channels_last: the memory format in which the network works.
    """

    def __init__(self, net: Blocks, start: str, ndim: int, *, channels_last: bool) -> None:
        super().__init__()
        self.start, self.ndim = start, ndim
        self.channels_last = channels_last and net.layouts.get(start) != NHWC
        rest = net.places[net.places.index(start) + 1 :]
        self.parts = nn.ModuleDict({place: nn.Sequential(*net.parts(place)) for place in rest})
        self.chunks = net.chunks

    def _enter(self, inputs: Tensor) -> Tensor:
        if inputs.ndim > self.ndim:
            inputs = inputs[:, 0]
        if not torch.is_autocast_enabled(inputs.device.type):
            inputs = inputs.float()  # kept in 16 bits
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Activations (B, ...) -> logits (B, K)."""
        return run([self.parts["head"]], self.features(inputs), chunks=self.chunks)

    def features(self, inputs: Tensor) -> Tensor:
        """Activations (B, ...) -> what the last layer takes (B, D)."""
        x = self._enter(inputs)
        for place, part in self.parts.items():
            if place != "head":
                x = run([part], x, chunks=self.chunks)
        return x


class Given(nn.Module):
    """In the place of a `Tail` where the inputs are all that a method takes."""

    def features(self, inputs: Tensor) -> Tensor:
        """(B, D), or versions (B, V, D), of which the first: (B, D)."""
        return inputs[:, 0] if inputs.ndim == 3 else inputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self.features(inputs)


class BesideAfter(nn.Module):
    """What stands side by side at `place`, from the outputs of `block`; zero for what comes before that.

    For gradients of what is linear in them: what the zeros stand for changes none.

    Args:
        widths: place -> entries of its vectors.
    """

    def __init__(self, net: Blocks, block: str, place: str, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.net, self.block = net, block
        order = places_of(place)
        self.later = [name for name in order if net.places.index(name) >= net.places.index(block)]
        self.zeros = sum(widths[name] for name in order if name not in self.later)

    def features(self, outputs: Tensor) -> Tensor:
        """(B, ...) -> (B, D)."""
        found = self.net(outputs, start=self.block, stop=beside(self.later))
        return torch.cat([found.new_zeros(len(found), self.zeros), found], 1)

    def forward(self, outputs: Tensor) -> Tensor:
        return self.features(outputs)


class SplitNetwork(nn.Module):
    """A classifier in two parts: the network up to `place`, and what answers on its outputs.

    Args:
        place: None: `rest` takes images.
        precision: of the first part, as `trainer.precision`; None: that of the whole.
    """

    def __init__(self, net: Blocks, place: str | None, rest: nn.Module, precision: str | None = None) -> None:
        super().__init__()
        self.net, self.place, self.rest, self.precision = net, place, rest, precision

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> scores (B, K)."""
        inputs = images if self.place is None else self._first(images, self.place)
        vectors = self.place is not None and are_vectors(self.place)
        scores: Tensor = self.rest(inputs.float() if vectors else inputs)
        return scores

    def _first(self, images: Tensor, place: str) -> Tensor:
        if self.precision is None:
            return self.net(images, stop=place)
        with autocast(images.device, self.precision):
            return self.net(images, stop=place)


def last_frozen(net: Blocks, trainable: frozenset[str]) -> str | None:
    """The place up to which nothing is trained: `features` when no backbone block is, None when the first block is.

    That a later block is frozen again does not move it.
    """
    before = next((at for at, name in enumerate(net.names[:-1]) if name in trainable), None)
    if before is None:
        return FEATURES
    return net.names[before - 1] if before else None
