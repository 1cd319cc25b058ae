"""For the tests of domain adaptation: two moons that are moved and turned, a small network, short runs."""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from tlcl.adaptation.methods.base import ALL, AdaptationMethod
from tlcl.adaptation.methods.registry import build_method
from tlcl.adaptation.pairs import Pair, hide_labels
from tlcl.config.registry import GROUPS
from tlcl.data.datamodule import Batch
from tlcl.models.blocks import Blocks, InputTransform

# A job of a second or two: rendered digits to real ones with the small CNN.
RUN = [
    "data@source=rendered_digits", "source.images_per_class=16", "source.val_size=20", "source.batch_size=32",
    "model=small_cnn", "model.input_size=16", "thaw=all", "trainer.epochs=3", "trainer.select=last",
    "optim.lr=0.05", "optim.block_lr_decay=1.0",
]  # fmt: skip


class Moons(NamedTuple):
    """Source, target and test images uint8 (N, 3, 1, 1), whose first two channels are a point, and labels (N,)."""

    source: Tensor
    source_labels: Tensor
    target: Tensor
    target_labels: Tensor
    test: Tensor
    test_labels: Tensor


def points(count: int, seed: int, degrees: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles, turned about their middle and moved; 8 units are 0..255."""
    at, labels = make_moons(count, noise=0.08, random_state=seed)
    angle = torch.tensor(degrees).deg2rad()
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    moved = (torch.from_numpy(at).float() - torch.tensor([0.5, 0.25])) @ turn.T + torch.tensor(shift)
    channels = torch.cat([moved / 4 * 255 + 127.5, torch.full((count, 1), 127.0)], 1)
    return channels.round().clamp(0, 255).to(torch.uint8)[:, :, None, None], torch.from_numpy(labels)


def moons() -> Moons:
    """The target is turned by 20 degrees and moved to the lower right."""
    moved = (20.0, (0.5, -0.3))
    return Moons(*points(300, 0, 0.0, (0.0, 0.0)), *points(300, 1, *moved), *points(600, 2, *moved))


def dense(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def point_net(seed: int = 0) -> Blocks:
    """Three layers of 32 with BatchNorm, for the images of `Moons`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(32, 2)))
        blocks = {"stem": dense(3, 32), "layer1": dense(32, 32), "layer2": dense(32, 32),
                  "layer3": nn.Identity(), "layer4": nn.Identity(), "head": head}  # fmt: skip
    return Blocks(InputTransform(1, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), blocks)


def make_method(name: str, net: Blocks, seed: int = 0, **keys: Any) -> AdaptationMethod:
    """The method with its default config but for `keys`."""
    return build_method(GROUPS["adaptation"][name].keys(name, **keys), net, seed)


def pair(source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor) -> Pair:
    """Batches of both domains, as a step of training gets them."""
    return Pair(
        *(Batch(images, labels, torch.arange(len(labels)))
          for images, labels in ((source, source_labels), (target, target_labels)))
    )  # fmt: skip


def train_on_moons(name: str, data: Moons, steps: int = 400, **keys: Any) -> tuple[Blocks, list[float]]:
    """Train by plain SGD; five labelled target points a class where the method wants some.

    Returns:
        The network in eval mode, and the loss of each step.
    """
    net = point_net()
    method = make_method(name, net, **keys)
    few = torch.cat([(data.target_labels == label).nonzero()[:5, 0] for label in (0, 1)])
    known = few if getattr(method.config, "target_labels", 0) else few[:0]
    if method.supervision == ALL:
        known = torch.arange(len(data.target))
    hidden = hide_labels(data.target_labels, known)
    optimizer = torch.optim.SGD([*net.parameters(), *method.parameters()], lr=0.05, momentum=0.9, nesterov=True)
    random, losses = torch.Generator().manual_seed(0), []
    net.train()
    for step in range(steps):
        ours = torch.randperm(300, generator=random)[:64]
        theirs = torch.randperm(300, generator=random)[:64] if method.unlabelled else known
        both = pair(data.source[ours], data.source_labels[ours], data.target[theirs], hidden[theirs])
        result = method.loss(net, both, step / steps)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    method.finish(net, data.target)
    return net.eval(), losses


def accuracy(net: Blocks, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((net.eval()(images).argmax(1) == labels).double().mean())
