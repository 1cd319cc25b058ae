"""A backbone as ordered named blocks that end in `head`; one forward serves everything that looks inside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.models.chunks import run
from tlcl.models.layouts import NCHW, maps, pooled


class InputTransform(nn.Module):
    """uint8 images of any size to normalised floats of the backbone's size, on their device, in one batch.

    Args:
        size: height and width of the result in pixels.
        mean, std: per RGB channel, in 0..1 units.
        mode: how they are resized: `bilinear` or `bicubic`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, size: int, mean: tuple[float, ...], std: tuple[float, ...], mode: str = "bilinear"
    ) -> None:
        super().__init__()
        self.size, self.mode = size, mode
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, H, W) -> float (B, 3, size, size)."""
        floats = images.to(self.mean.dtype)
        if floats.shape[-2:] != (self.size, self.size):
            floats = nn.functional.interpolate(
                floats, (self.size, self.size), mode=self.mode, antialias=True, align_corners=False
            )
            if self.mode == "bicubic":
                floats = floats.clamp(0, 255)  # it overshoots at edges, which no image does
        return (floats - self.mean) / self.std  # a grey channel broadcasts to three


INPUTS = "inputs"  # the place between the input transform and the first block
FEATURES = "features"  # the place between pooling and the last layer
BESIDE = "+"  # `stem+layer1+`: what `Blocks.vectors` makes of the outputs of several places, side by side
LEAST = 1e-6  # root mean square by which vectors are divided


def beside(places: Sequence[str]) -> str:
    """The place where the vectors of several stand side by side."""
    return "".join(f"{place}{BESIDE}" for place in places)


def are_vectors(place: str) -> bool:
    """Whether the outputs of a place are one vector an image, whatever the network."""
    return place == FEATURES or BESIDE in place


def places_of(place: str) -> list[str]:
    """Those whose vectors stand side by side there; of any other place it alone."""
    return [name for name in place.split(BESIDE) if name]


def place_words(place: str) -> str:
    """A place as people read it: `layer3`, `layer3 and layer4`, or `9 places, stem to features`."""
    names = places_of(place)
    return " and ".join(names) if len(names) <= 2 else f"{len(names)} places, {names[0]} to {names[-1]}"


@dataclass(frozen=True)
class Pieces:
    """What a network is made of.

    Attributes:
        blocks: name -> module, in order, the last one named `head` and a Sequential that ends in a Linear.
        network: the module of which the blocks are parts, and under whose names the weights are saved; None where
            the blocks are the network.
        features: from the last block's outputs to what the last layer takes; None where the head begins with it.
        layouts: block -> how its outputs lie: `NCHW`, the default, `NHWC`, `tokens` or `flat`.
        prefix: tokens of (B, N, D) that are no places of the image, before those that are.
    """

    blocks: Mapping[str, nn.Module]
    network: nn.Module | None = None
    features: nn.Module | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)
    prefix: int = 0


class Blocks(nn.Module):
    """Ordered blocks with one forward from any block's output to any other's.

    Besides its blocks a network has the places `inputs`, what the first block takes, and `features`, within the
    head: what the last layer takes, pooled. What learns between the last block and `features`, a norm or a
    convolution behind the pooling, belongs to the last block; dropout stands behind `features`.

    Args:
        inputs: turns uint8 images into what the first block takes.
        blocks: the pieces; a mapping alone is the blocks.
        code: as in `Backbone`.

    Attributes:
        chunks: whether frozen blocks compute in batches of one size, see `tlcl.models.chunks`: so training from
            their cached outputs is training without a cache, to the bit.

    Raises:
        ValueError: the last block is not such a head.
    """

    def __init__(
        self, inputs: InputTransform, blocks: Mapping[str, nn.Module] | Pieces, code: str = ""
    ) -> None:
        super().__init__()
        pieces = blocks if isinstance(blocks, Pieces) else Pieces(blocks)
        self.inputs, self.code = inputs, code
        self.chunks = pieces.network is not None
        self.layouts, self.prefix = dict(pieces.layouts), pieces.prefix
        self.names = tuple(pieces.blocks)
        if self.names[-1] != "head":
            raise ValueError(f"the last block must be named 'head', not {self.names[-1]!r}")
        head = pieces.blocks["head"]
        if not isinstance(head, nn.Sequential) or not isinstance(head[-1], nn.Linear):
            raise ValueError("the head must be a Sequential that ends in a Linear")
        if pieces.network is None:
            self.blocks = nn.ModuleDict(dict(pieces.blocks))
        else:
            self.network = pieces.network
        last = len(head) - 1
        while last and isinstance(head[last - 1], nn.Dropout):
            last -= 1
        before = list(head)[:last]
        if any(isinstance(part, nn.modules.dropout._DropoutNd) for part in nn.Sequential(*before).modules()):
            raise ValueError("dropout in the head must stand right before its last layer")
        # In plain dicts and lists, as these modules are registered already.
        self._owned: dict[str, nn.Module] = dict(pieces.blocks)
        self._runs: dict[str, list[nn.Module]] = {name: [block] for name, block in pieces.blocks.items()}
        self._runs["head"] = list(head)[last:]
        self._runs[FEATURES] = [pieces.features] if pieces.features is not None else before
        between = self._runs[FEATURES]
        if any(True for part in between for _ in part.parameters()):
            deepest = self.names[-2]
            self._owned[deepest] = nn.ModuleList([pieces.blocks[deepest], *between])
            self._owned["head"] = nn.Sequential(*self._runs["head"])
        self.places = (*self.names[:-1], FEATURES, "head")

    def forward(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run from the output of `start` (None: from uint8 images) to the output of `stop` (None: logits).

        `start == stop` returns `x` as it is.

        Args:
            x: uint8 images (B, C, H, W), or the output of `start`.
            start: a block, `inputs` or `features`.
            stop: the same, or places `beside` each other, for (B, D) of their `vectors`.

        Raises:
            ValueError: an unknown block, or `stop` before `start`.
        """
        if stop is not None and BESIDE in stop:
            parts = []
            for place in places_of(stop):
                x, start = self(x, start=start, stop=place), place
                parts.append(self.vectors(place, x))
            return torch.cat(parts, 1)
        first = 0 if start is None else self._position(start) + 1
        last = len(self.places) if stop is None else self._position(stop) + 1
        if last < first:
            raise ValueError(f"cannot run from {start!r} back to {stop!r}")
        if start is None:
            x = self.inputs(x)
        elif not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.inputs.mean.dtype)  # kept in 16 bits
        for place in self.places[first:last]:
            x = run(self.parts(place), x, chunks=self.chunks)
        return x

    def parts(self, place: str) -> list[nn.Module]:
        """The modules that lead from the place before to this one."""
        return self._runs[place]

    def features(self, x: Tensor) -> Tensor:
        """What the last layer takes, pooled: uint8 images (B, C, H, W) -> (B, D)."""
        return self(x, stop=FEATURES)

    def pooled(self, place: str, x: Tensor) -> Tensor:
        """Outputs `x` of a place as vectors (B, D): maps and tokens averaged over the places of the image."""
        return pooled(x, self.layouts.get(place, NCHW), self.prefix)

    def maps(self, place: str, x: Tensor) -> Tensor | None:
        """Outputs `x` of a place as maps (B, C, H, W); None where they are no map of the image."""
        return maps(x, self.layouts.get(place, NCHW), self.prefix)

    def vectors(self, place: str, x: Tensor) -> Tensor:
        """Outputs `x` of a place as float32 (B, D) or (B, 2 D): means over the places of the image, and deviations.

        Of outputs that are no map of the image, or have one place, the means alone. Each of the two vectors is
        divided by its root mean square, so that no place or image outweighs the others.
        """
        found = self.maps(place, x)
        both = [self.pooled(place, x.float())]
        if found is not None and found[0, 0].numel() > 1:
            both.append(found.float().flatten(2).var(2, correction=0).clamp_min(LEAST**2).sqrt())
        return torch.cat([one / one.square().mean(1, keepdim=True).sqrt().clamp_min(LEAST) for one in both], 1)

    @property
    def classifier(self) -> nn.Linear:
        """The last layer: features (B, D) -> logits (B, classes)."""
        last = self._runs["head"][-1]
        assert isinstance(last, nn.Linear)
        return last

    def head_keys(self) -> dict[str, str]:
        """Key of the state dict -> `weight` or `bias` of the last layer."""
        mine = {id(value): name for name, value in self.classifier.named_parameters()}
        return {key: mine[id(value)] for key, value in self.named_parameters() if id(value) in mine}

    def _position(self, place: str) -> int:
        if place == INPUTS:
            return -1
        if place not in self.places:
            raise ValueError(f"unknown block {place!r}; the blocks are {', '.join(self.names)}")
        return self.places.index(place)

    def block(self, name: str) -> nn.Module:
        """The module whose parameters a block owns."""
        return self._owned[name]


@dataclass(frozen=True)
class Backbone:
    """What `tlcl` has to know of a backbone.

    Attributes:
        name: as in `model.name`.
        mean, std: input normalisation its ImageNet weights were trained with, RGB in 0..1.
        build: (number of classes, keys of the model config) -> name -> module; see the backbone's file.
        native_key: key of a `Blocks` state dict -> key in the library the backbone comes from.
        imagenet: the ImageNet state dict in native keys.
        foreign_key: key of another well-known format of the same network -> native key; the identity by default.
        head: prefix of the classifier in native keys, which is never loaded: the head is new for each target.
        code: hash of the user's own file that the backbone comes from, empty for those of this package: what was
            computed with an older version of the file is not used with a newer one.
        mode: how images are resized, see `InputTransform`.
        adapt: a native state dict of another image size or format -> one that fits this network.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[int, Any], Mapping[str, nn.Module] | Pieces]
    native_key: Callable[[str], str]
    imagenet: Callable[[], dict[str, Tensor]]
    head: str
    foreign_key: Callable[[str], str] = str
    code: str = ""
    mode: str = "bilinear"
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict

    def native_state(self, net: Blocks) -> dict[str, Tensor]:
        """The weights of `net` under the names of the library it comes from, so that others can load them."""
        return {self.native_key(key): value for key, value in net.state_dict().items()}
