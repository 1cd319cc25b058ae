"""The Fisher information of networks whose parameters no layer owns alone, against single images and classes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.continual.conftest import close, fisher_by_loops
from tlcl.continual.methods.fisher import fisher_diagonal
from tlcl.continual.methods.layer_calls import survey
from tlcl.seeding import generator

SWIN = {"img_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2)}
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
SMALL = {
    "swin_tiny_patch4_window7_224": SWIN,
    "swinv2_tiny_window8_256": SWIN,
    "beit_base_patch16_224": VIT,
    "eva02_tiny_patch14_224": VIT,
    **{name: {"img_size": 32} for name in ("test_vit", "test_vit2", "test_vit3", "test_vit4", "test_vit_relpos")},
}
TINY = [
    "test_efficientnet", "test_efficientnet_gn", "test_efficientnet_evos", "test_convnext", "test_convnext2",
    "test_resnet", "test_byobnet", "test_nfnet", "test_mambaout",
]  # fmt: skip


def spread(net: nn.Module) -> nn.Module:
    """In eval mode and in float64, with every parameter and statistic away from 0 and 1, where errors hide."""
    random = generator(0, "parameters")
    with torch.no_grad():
        for parameter in net.parameters():
            scale = 0.2 if parameter.ndim < 2 else 0.0
            parameter += scale * torch.randn(parameter.shape, generator=random)
    return net.double().eval()


def compare(net: nn.Module, inputs: Tensor, rivals: Tensor) -> None:
    fisher = fisher_diagonal(net, inputs, rivals)
    expected = iter(fisher_by_loops(net, inputs, rivals))
    for (name, parameter), value in zip(net.named_parameters(), fisher, strict=True):
        right = next(expected) if parameter.requires_grad else torch.zeros_like(value)
        atol = 1e-9 * float(right.max()) + 1e-30

        def where(text: str, name: str = name) -> str:
            return f"{name}: {text}"

        torch.testing.assert_close(value, right, rtol=1e-6, atol=atol, msg=where)


@pytest.mark.parametrize("name", [*SMALL, *TINY])
def test_fisher_of_a_network_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = spread(timm.create_model(name, num_classes=3, **SMALL.get(name, {})))
    size = SMALL.get(name, {}).get("img_size", 32)
    inputs = torch.randn(2, 3, size, size, generator=generator(0, "x"), dtype=torch.float64)
    compare(net, inputs, torch.tensor([[True, True, True], [True, False, True]]))


class Own(nn.Module):
    """Parameters of its own, and parts; one part is called twice, one is never called, one is read from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.mix = nn.Linear(4, 4)
        self.read = nn.Linear(4, 4)
        self.table = nn.Parameter(torch.randn(5, 5))
        self.scale = Scale()
        self.idle = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.mix(self.mix(x).tanh())
        x = nn.functional.linear(x, self.read.weight).tanh()
        x = self.scale(self.table.softmax(1) @ x, by=x)
        pooled: Tensor = self.head(x.mean(1))
        return pooled


class Scale(nn.Module):
    """Takes two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor, by: Tensor) -> Tensor:
        return x * self.gain + by * self.gain.square()


class Windows(nn.Module):
    """Rows of the batch that a layer sees are not images: (B, 4, 4) -> (2 B, 2, 4)."""

    def __init__(self, interleaved: bool) -> None:
        super().__init__()
        self.interleaved = interleaved
        self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unflatten(1, (2, 2))  # B, windows, 2, 4
        windows = windows.transpose(0, 1) if self.interleaved else windows
        mixed = self.mix(windows.flatten(0, 1)).tanh().unflatten(0, windows.shape[:2])
        mixed = mixed.transpose(0, 1) if self.interleaved else mixed
        logits: Tensor = self.head(mixed.mean((1, 2)))
        return logits


class PlacesFirst(nn.Module):
    """A layer that sees (places, B, D): with as many images as places, the first dimension says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.mix(x.transpose(0, 1)).tanh().mean(0))
        return logits


class Standardised(nn.Conv2d):
    """A convolution by a weight that is made of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class InPlace(nn.Module):
    """Changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.gain)


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x).tanh()).tanh().mean(1))
        return logits


def tokens(head: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), head, nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))


def convolutions(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (4, 1)), layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], set[str] | None]] = {
    "own parameters": (Own, {"token", "table", "mix.weight", "mix.bias", "read.weight", "scale.gain"}),
    "windows": (lambda: Windows(False), {"mix.weight", "mix.bias"}),
    "interleaved windows": (lambda: Windows(True), {"mix.weight", "mix.bias"}),
    "places first": (PlacesFirst, {"mix.weight", "mix.bias"}),
    "tied": (Tied, {"first.weight", "first.bias", "second.bias"}),
    "in place": (lambda: tokens(InPlace()), {"1.gain"}),
    "layers of places": (lambda: tokens(nn.LayerNorm(4)), set()),
    "weight norm": (lambda: tokens(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), None),
    "standardised": (lambda: convolutions(Standardised(4, 4, (1, 2))), set()),
    "padded to the same": (lambda: convolutions(nn.Conv2d(4, 4, (1, 3), padding="same")), set()),
    "padded in a circle": (lambda: convolutions(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")), set()),
    "transposed": (lambda: convolutions(nn.ConvTranspose2d(4, 4, 3)), set()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", [1, 4])
def test_fisher_of_what_layers_do_not_show(name: str, count: int) -> None:
    """Four images of four places of four numbers, so that no dimension is told by its size."""
    build, others = NETWORKS[name]
    torch.manual_seed(0)
    net = build()
    inputs = torch.randn(count, 4, 4, generator=generator(0, "x"), dtype=torch.float64)
    net.double()(inputs)
    net = spread(net)
    compare(net, inputs, torch.ones(count, 3, dtype=torch.bool))
    if others is not None:
        assert set(survey(net, inputs).others) == others


def test_fisher_leaves_the_parameters_what_they_were() -> None:
    net = spread(Own())
    before = {name: (value, value.detach().clone()) for name, value in net.named_parameters()}
    inputs = torch.randn(2, 4, 4, dtype=torch.float64)
    fisher_diagonal(net, inputs, torch.ones(2, 3, dtype=torch.bool))
    for name, value in net.named_parameters():
        assert value is before[name][0]
        assert torch.equal(value, before[name][1])
        assert value.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_fisher_of_frozen_parameters_beside_trained_ones() -> None:
    net = Own()
    net.mix.bias.requires_grad_(False)
    net.token.requires_grad_(False)
    net.head.weight.requires_grad_(False)
    inputs = torch.randn(3, 4, 4, generator=generator(0, "x"), dtype=torch.float64)
    compare(spread(net), inputs, torch.ones(3, 3, dtype=torch.bool))


def test_fisher_is_zero_where_no_output_depends_on_a_parameter() -> None:
    net = spread(Own())
    fisher = dict(
        zip(
            dict(net.named_parameters()),
            fisher_diagonal(net, torch.randn(2, 4, 4).double(), torch.ones(2, 3, dtype=torch.bool)),
            strict=True,
        )
    )
    zero = torch.zeros(2, dtype=torch.float64)
    close([fisher["idle.bias"], fisher["read.bias"][:2]], [zero, zero])
    assert bool((fisher["token"] > 0).all())
