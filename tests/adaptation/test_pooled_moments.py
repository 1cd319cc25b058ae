"""BatchNorm's averages over a whole set: against one pass of all images together, in any order and batches."""

import pytest
import torch
from torch import Tensor, nn

from tlcl.adaptation import pooled_moments
from tlcl.adaptation.pooled_moments import Moments, pool_batch_norm
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model

MODELS = {
    "resnet18": ["model=resnet18", "model.input_size=32"],
    "timm": ["model=timm", "model.arch=mobilenetv3_small_050", "model.input_size=32"],
}


def network(name: str) -> Blocks:
    config = parse_config(composed_config([*MODELS[name], "model.weights=none", "logger=none"]))
    return build_model(config.model, 4, 0)[0]


def images(count: int = 90) -> Tensor:
    """Four classes of different brightness and contrast, one after another as files of a folder are."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 64, (count, 3, 32, 32), generator=random)
    level = torch.arange(4).repeat_interleave(-(-count // 4))[:count, None, None, None]
    return (noise * (level + 1) // 2 + 30 * level).clamp(0, 255).to(torch.uint8)


def averages(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items() if "running" in key}


def pooled(name: str, given: Tensor) -> dict[str, Tensor]:
    net = network(name)
    pool_batch_norm(net, given)
    return averages(net)


@pytest.mark.parametrize("name", MODELS)
def test_as_one_pass_of_all_images_together(name: str) -> None:
    """In one batch of everything a layer in training mode is normalised by the moments of the whole set.

    The variance that normalises is the biased one there, so that the averages agree up to 1 / (values of a layer).
    """
    given, net = images(), network(name)
    found = pooled(name, given)
    net.chunks = False
    net.train()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
        elif isinstance(layer, nn.Dropout):
            layer.eval()
    with torch.no_grad():
        net(given)
    expected = averages(net)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0.05, atol=0.02, msg=key)
    first = min(key for key in found if key.endswith("running_var"))
    torch.testing.assert_close(found[first], expected[first], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_neither_order_nor_batches_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = images()
    found = pooled(name, given)
    shuffled = pooled(name, given[torch.randperm(len(given), generator=torch.Generator().manual_seed(1))])
    monkeypatch.setattr(pooled_moments, "BATCH", 7)
    small = pooled(name, given)
    for key, value in found.items():
        torch.testing.assert_close(shuffled[key], value, rtol=1e-4, atol=1e-5, msg=key)
        torch.testing.assert_close(small[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_what_does_not_fit_in_memory_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pooled("resnet18", images())
    monkeypatch.setattr(pooled_moments, "SHARE_HELD", 0.0)
    again = pooled("resnet18", images())
    assert all(torch.equal(found[key], again[key]) for key in found)


def test_the_network_is_left_as_it_was() -> None:
    net = network("timm")
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    pool_batch_norm(net, images(20))
    assert net.chunks
    assert not net.training
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, weights[key])}
    assert changed == {key for key in weights if "running" in key or key.endswith("num_batches_tracked")}
    assert all(not module._forward_pre_hooks for module in net.modules())


def test_moments_of_parts_are_those_of_the_whole() -> None:
    """With means far from zero, where a plain sum of squares would lose them."""
    values = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0)) + 1e4
    parts = [Moments.of(part) for part in values.split([1, 30, 19])]
    whole = parts[0].and_of(parts[1]).and_of(parts[2])
    flat = values.double().transpose(0, 1).flatten(1)
    assert whole.number == 200
    torch.testing.assert_close(whole.mean, flat.mean(1), rtol=1e-14, atol=0)
    torch.testing.assert_close(whole.scatter / 199, flat.var(1), rtol=1e-10, atol=0)
