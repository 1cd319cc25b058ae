"""The Fisher information's diagonal against one backward pass for each image and class."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from tests.continual.conftest import TinyNet, close, fisher_by_loops, gradients, images
from tlcl.continual.methods.fisher import fisher_diagonal
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.efficientnet_lite0 import EfficientNetLite0Config
from tlcl.models.resnet18 import ResNet18Config
from tlcl.seeding import generator


def every(count: int, outputs: int = 6) -> Tensor:
    return torch.ones(count, outputs, dtype=torch.bool)


@pytest.mark.parametrize("count", [1, 32, 41])  # a chunk is 32
def test_fisher_is_that_of_single_images_and_all_classes(count: int) -> None:
    net, inputs = TinyNet(norm=True).eval(), images(count, 3)
    close(fisher_diagonal(net, inputs, every(count)), fisher_by_loops(net, inputs, every(count)), atol=1e-9)


def test_fisher_of_a_linear_softmax_in_closed_form() -> None:
    """For logits W x the diagonal is mean_x x_d^2 p_k (1 - p_k)."""
    net = nn.Sequential(nn.Linear(4, 3, bias=False))
    inputs = torch.randn(9, 4, generator=generator(0, "x"))
    p = net(inputs).softmax(1).detach()
    expected = (p * (1 - p)).T @ inputs**2 / 9
    close(fisher_diagonal(net, inputs, every(9, 3)), [expected])


def test_fisher_of_a_known_task_runs_over_its_own_outputs() -> None:
    """Images of different tasks in one chunk; outputs of no image's task have none."""
    net, inputs = TinyNet().eval(), images(10, 3)
    rivals = torch.zeros(10, 6, dtype=torch.bool)
    rivals[:5, :2] = True
    rivals[5:, 2:4] = True
    fisher = fisher_diagonal(net, inputs, rivals)
    close(fisher, fisher_by_loops(net, inputs, rivals), atol=1e-9)
    assert bool((fisher[-1][4:] == 0).all())
    assert bool((fisher[-1][:4] > 0).all())


def test_fisher_is_zero_for_frozen_parameters() -> None:
    net, inputs = TinyNet().eval(), images(5, 3)
    whole = fisher_diagonal(net, inputs, every(5))
    net.body.requires_grad_(False)
    fisher = fisher_diagonal(net, inputs, every(5))
    frozen = [not parameter.requires_grad for parameter in net.parameters()]
    assert frozen == [True, True, False, False]
    for value, complete, parameter in zip(fisher, whole, net.parameters(), strict=True):
        assert value.shape == parameter.shape
        if parameter.requires_grad:
            torch.testing.assert_close(value, complete)
        else:
            assert bool((value == 0).all())


def test_fisher_is_not_the_square_of_the_mean_gradient() -> None:
    """Nor that of the labels (the "empirical" Fisher)."""
    net, inputs = TinyNet().eval(), images(12, 3)
    labels = torch.arange(12) % 6
    fisher = fisher_diagonal(net, inputs, every(12))
    squared_mean = [g**2 for g in gradients(nn.functional.cross_entropy(net(inputs), labels), net)]
    singles = [
        gradients(nn.functional.cross_entropy(net(inputs[i : i + 1]), labels[i : i + 1]), net) for i in range(12)
    ]
    empirical = [torch.stack(values).square().mean(0) for values in zip(*singles, strict=True)]
    for wrong in (squared_mean, empirical):
        ratio = float(sum(value.sum() for value in wrong)) / float(sum(value.sum() for value in fisher))
        assert abs(ratio - 1) > 0.02
    assert float(sum(value.sum() for value in squared_mean)) < 0.5 * float(sum(value.sum() for value in fisher))


def test_fisher_leaves_network_and_grad_mode_alone() -> None:
    net, inputs = TinyNet(norm=True).eval(), images(5, 3)
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        inside = fisher_diagonal(net, inputs, every(5))
        assert not torch.is_grad_enabled()
    close(inside, fisher_diagonal(net, inputs, every(5)))
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in net.parameters())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    assert not any(value.requires_grad for value in inside)


LAYERS = {
    "plain": nn.Conv2d(4, 6, 3),
    "padded, strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "no bias": nn.Conv2d(4, 6, 3, padding=1, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "oblong": nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 1)),
    "one place": nn.Conv2d(4, 6, 7),
    "one by one": nn.Conv2d(4, 6, 1),
    "norm": nn.BatchNorm2d(4),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_fisher_of_each_kind_of_layer(layer: nn.Module) -> None:
    """Behind a layer that is trained too and before a ReLU that works in place, as in a residual network."""
    torch.manual_seed(0)
    layer = copy.deepcopy(layer)
    layer.reset_parameters()  # type: ignore[operator]
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    body = nn.Sequential(nn.Conv2d(1, 4, 1), layer, nn.ReLU(inplace=True), nn.Flatten())
    inputs = torch.randn(3, 1, 7, 7, generator=generator(0, "x"))
    body.eval()
    net = nn.Sequential(body, nn.Linear(body(inputs).shape[1], 3))
    close(fisher_diagonal(net, inputs, every(3, 3)), fisher_by_loops(net, inputs, every(3, 3)), atol=1e-9)


def close_to_loops(net: Blocks, count: int, outputs: int) -> None:
    """uint8 images through resizing, BatchNorm and all, in eval mode, inside `torch.no_grad`, without warnings."""
    net.eval()
    inputs = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator(0, "x"))
    rivals = every(count, outputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        fisher = fisher_diagonal(net, inputs, rivals)
    expected = fisher_by_loops(net, inputs, rivals)
    trained = [value for value, parameter in zip(fisher, net.parameters(), strict=True) if parameter.requires_grad]
    assert len(trained) == len(expected)
    for value, right in zip(trained, expected, strict=True):
        torch.testing.assert_close(value, right, rtol=1e-3, atol=1e-5 * float(right.max()))
        assert float(right.max()) > 0


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_fisher_of_a_resnet(stem: str) -> None:
    net, _ = build_model(ResNet18Config("resnet18", "none", 32 if stem == "imagenet" else 8, stem), 3, seed=0)
    close_to_loops(net, 2, 3)


def test_fisher_of_a_resnet_with_its_last_stage_thawed() -> None:
    net, _ = build_model(ResNet18Config("resnet18", "none", 32), 3, seed=0)
    for name in ("stem", "layer1", "layer2", "layer3"):
        net.block(name).requires_grad_(False)
    close_to_loops(net, 3, 3)


def test_fisher_of_an_efficientnet() -> None:
    """Its convolutions pad by themselves, more on the right where that is odd."""
    pytest.importorskip("timm")
    net, _ = build_model(EfficientNetLite0Config("efficientnet_lite0", "none", 32), 3, seed=0)
    close_to_loops(net, 2, 3)
