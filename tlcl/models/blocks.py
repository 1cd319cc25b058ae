"""A backbone as ordered named blocks that end in `head`; one forward serves everything that looks inside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class InputTransform(nn.Module):
    """uint8 images of any size to normalised floats of the backbone's size, on their device, in one batch.

    Args:
        size: height and width of the result in pixels.
        mean, std: per RGB channel, in 0..1 units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, H, W) -> float (B, 3, size, size)."""
        floats = images.to(self.mean.dtype)
        if floats.shape[-2:] != (self.size, self.size):
            floats = nn.functional.interpolate(
                floats, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return (floats - self.mean) / self.std  # a grey channel broadcasts to three


INPUTS = "inputs"  # the place between the input transform and the first block
FEATURES = "features"  # the place between pooling and the last layer


class Blocks(nn.Module):
    """Ordered blocks with one forward from any block's output to any other's.

    Besides its blocks a network has the places `inputs`, what the first block takes, and `features`, within the
    head: what the last layer takes, pooled.

    Args:
        inputs: turns uint8 images into what the first block takes.
        blocks: name -> module, in order, the last one named `head` and a Sequential that ends in a Linear, before
            which nothing learns or draws random numbers.
        code: as in `Backbone`.

    Raises:
        ValueError: the last block is not such a head.
    """

    def __init__(self, inputs: InputTransform, blocks: Mapping[str, nn.Module], code: str = "") -> None:
        super().__init__()
        self.inputs, self.code = inputs, code
        self.blocks = nn.ModuleDict(dict(blocks))
        self.names = tuple(blocks)
        if self.names[-1] != "head":
            raise ValueError(f"the last block must be named 'head', not {self.names[-1]!r}")
        head = blocks["head"]
        if not isinstance(head, nn.Sequential) or not isinstance(head[-1], nn.Linear):
            raise ValueError("the head must be a Sequential that ends in a Linear")
        if list(head[:-1].parameters()) or any(isinstance(part, nn.Dropout) for part in head.modules()):
            raise ValueError("nothing in the head but its last layer may learn or draw random numbers")
        self.places = (*self.names[:-1], FEATURES, "head")

    def forward(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run from the output of `start` (None: from uint8 images) to the output of `stop` (None: logits).

        `start == stop` returns `x` as it is.

        Args:
            x: uint8 images (B, C, H, W), or the output of `start`.
            start, stop: a block, `inputs` or `features`.

        Raises:
            ValueError: an unknown block, or `stop` before `start`.
        """
        first = 0 if start is None else self._position(start) + 1
        last = len(self.places) if stop is None else self._position(stop) + 1
        if last < first:
            raise ValueError(f"cannot run from {start!r} back to {stop!r}")
        if start is None:
            x = self.inputs(x)
        elif not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.inputs.mean.dtype)  # kept in 16 bits
        for place in self.places[first:last]:
            for part in self.parts(place):
                x = part(x)
        return x

    def parts(self, place: str) -> list[nn.Module]:
        """The modules that lead from the place before to this one."""
        if place == FEATURES:
            return list(self._head())[:-1]
        return [self.classifier] if place == "head" else [self.block(place)]

    def features(self, x: Tensor) -> Tensor:
        """What the last layer takes, pooled: uint8 images (B, C, H, W) -> (B, D)."""
        return self(x, stop=FEATURES)

    @property
    def classifier(self) -> nn.Linear:
        """The last layer: features (B, D) -> logits (B, classes)."""
        last = self._head()[-1]
        assert isinstance(last, nn.Linear)
        return last

    def _head(self) -> nn.Sequential:
        head = self.block("head")
        assert isinstance(head, nn.Sequential)
        return head

    def _position(self, place: str) -> int:
        if place == INPUTS:
            return -1
        if place not in self.places:
            raise ValueError(f"unknown block {place!r}; the blocks are {', '.join(self.names)}")
        return self.places.index(place)

    def block(self, name: str) -> nn.Module:
        """The module of one block."""
        return self.blocks[name]


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
        depthwise: whether its convolutions are depthwise, whose gradients processors compute slower in bfloat16.
        code: hash of the user's own file that the backbone comes from, empty for those of this package: what was
            computed with an older version of the file is not used with a newer one.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[int, Any], Mapping[str, nn.Module]]
    native_key: Callable[[str], str]
    imagenet: Callable[[], dict[str, Tensor]]
    head: str
    foreign_key: Callable[[str], str] = str
    depthwise: bool = False
    code: str = ""

    def native_state(self, net: Blocks) -> dict[str, Tensor]:
        """The weights of `net` under the names of the library it comes from, so that others can load them."""
        return {self.native_key(key): value for key, value in net.state_dict().items()}
