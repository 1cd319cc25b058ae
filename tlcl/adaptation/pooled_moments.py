"""Mean and variance of what each BatchNorm layer takes, over a whole set of images."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from tlcl.adaptation.source_averages import averaging
from tlcl.models.blocks import FEATURES, INPUTS, Blocks
from tlcl.models.inference import whole_batches
from tlcl.system.memory import available_memory

BATCH, SLICE = 256, 32
SHARE_HELD = 0.25  # of the memory there is, for outputs that are kept between two blocks
Batches = Callable[[], Iterator[Tensor]]


class Moments(NamedTuple):
    """Of the values of C channels, in double precision.

    Attributes:
        number: of values, of each channel.
        mean: (C,).
        scatter: (C,), sum of the squared distances from the mean.
    """

    number: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> "Moments":
        """Of (B, C) or (B, C, ...)."""
        whole: Moments | None = None
        for part in inputs.split(SLICE):  # double copies of a whole batch would be several times as large
            values = part.transpose(0, 1).flatten(1).double()
            mean = values.mean(1)
            found = cls(values.shape[1], mean, (values - mean[:, None]).square().sum(1))
            whole = found if whole is None else whole.and_of(found)
        assert whole is not None
        return whole

    def and_of(self, other: "Moments") -> "Moments":
        """Of both sets of values together (Chan, Golub & LeVeque 1983, equation 1.5)."""
        number = self.number + other.number
        step = other.mean - self.mean
        mean = self.mean + step * (other.number / number)
        scatter = self.scatter + other.scatter + step.square() * (self.number * other.number / number)
        return Moments(number, mean, scatter)


class _Reached(Exception):
    """What comes after the layer is not needed."""


@torch.no_grad()
def pool_batch_norm(net: Blocks, images: Tensor) -> None:
    """Give every BatchNorm layer the mean and the unbiased variance of its inputs over all the images.

    A layer's inputs depend on the averages of those before it, so that they are taken one after another, in the
    order in which the network computes, each with the layers before it as they will stay: the result depends
    neither on the order of the images nor on how they are batched. A layer costs the pass from its block's inputs,
    which are kept where a quarter of the memory holds them and else computed again from the images. The network is
    left in eval mode.

    Args:
        images: uint8 (N, C, H, W), on any device.
    """
    net.eval()
    chunks, net.chunks = net.chunks, False  # a layer is to see each batch whole, and once
    try:
        _pool_in_order(net, images)
    finally:
        net.chunks = chunks


def _pool_in_order(net: Blocks, images: Tensor) -> None:
    device = net.inputs.mean.device
    slices = whole_batches(len(images), BATCH)

    def first() -> Iterator[Tensor]:
        for part in slices:
            yield net(images[part].to(device), stop=INPUTS)

    batches: Batches = first
    places: list[str | None] = [*net.names[:-1], FEATURES, None]
    begin = INPUTS
    for end in places:
        for layer in _in_order(net, next(batches()), begin, end):
            _pool(net, layer, batches, begin, end)
        if end is not None:
            batches, begin = _held(net, batches, begin, end, len(images)), end


def _in_order(net: Blocks, inputs: Tensor, start: str, stop: str | None) -> list[_BatchNorm]:
    """Layers with averages that compute between two places, by their first call."""
    called: dict[_BatchNorm, None] = {}

    def note(layer: nn.Module, _: object) -> None:
        assert isinstance(layer, _BatchNorm)
        called[layer] = None

    hooks = [layer.register_forward_pre_hook(note) for layer in averaging(net)]
    try:
        net(inputs[:2], start=start, stop=stop)
    finally:
        _remove(hooks)
    return list(called)


def _pool(net: Blocks, layer: _BatchNorm, batches: Batches, start: str, stop: str | None) -> None:
    found: list[Moments] = []

    def take(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(Moments.of(inputs[0]))
        raise _Reached

    hook = layer.register_forward_pre_hook(take)
    try:
        for inputs in batches():
            try:
                net(inputs, start=start, stop=stop)
            except _Reached:
                continue
    finally:
        _remove([hook])
    whole = found[0]
    for part in found[1:]:
        whole = whole.and_of(part)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(whole.mean)
    layer.running_var.copy_(whole.scatter / max(1, whole.number - 1))
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.fill_(len(found))


def _remove(hooks: Sequence[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()


def _held(net: Blocks, batches: Batches, start: str, stop: str, images: int) -> Batches:
    """The outputs of a place, batch by batch: kept, or where they are too large, computed each time."""
    probe = net(next(batches())[:1], start=start, stop=stop)
    if probe.numel() * probe.element_size() * images <= SHARE_HELD * available_memory():
        kept = [net(inputs, start=start, stop=stop).cpu() for inputs in batches()]
        device = net.inputs.mean.device
        return lambda: (outputs.to(device) for outputs in kept)

    def again() -> Iterator[Tensor]:
        for inputs in batches():
            yield net(inputs, start=start, stop=stop)

    return again
