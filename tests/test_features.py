"""Features computed once: equal to the network's own, and never those of other weights or images."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tlcl.config import EfficientNetLite0Config, ResNet18Config
from tlcl.features import LastLayer, frozen_features
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model

IMAGES = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0, size: int = 16) -> Blocks:
    return build_model(ResNet18Config(name="resnet18", weights="none", input_size=size), 10, seed)[0].eval()


def compute(net: Blocks, cache: Path, images: torch.Tensor = IMAGES, precision: str = "32-true") -> torch.Tensor:
    return frozen_features(
        net, images, device=torch.device("cpu"), precision=precision, cache=cache, progress=None
    )


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_last_layer_of_features_is_the_network(tmp_path: Path, name: str) -> None:
    config = (
        ResNet18Config(name=name, weights="none", input_size=16)
        if name == "resnet18"
        else EfficientNetLite0Config(name=name, weights="none", input_size=32)
    )
    net = build_model(config, 10, 0)[0].eval()
    features = compute(net, tmp_path)
    assert features.shape == (12, net.classifier.in_features)
    torch.testing.assert_close(LastLayer(net)(features), net(IMAGES))
    assert LastLayer(net).classifier is net.classifier
    assert [name for name, _ in LastLayer(net).named_parameters()] == ["classifier.weight", "classifier.bias"]


def test_computed_once_for_the_same_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    first = compute(net, tmp_path)
    nn.init.zeros_(net.classifier.weight)  # the head is no part of it
    monkeypatch.setattr(Blocks, "features", lambda self, x: pytest.fail("computed again"))
    assert torch.equal(compute(net, tmp_path), first)
    assert compute(network(), tmp_path).requires_grad is False


def test_other_content_is_other_features(tmp_path: Path) -> None:
    net = network()
    compute(net, tmp_path)
    changed = IMAGES.clone()
    changed[3, 0, 0, 0] += 1
    compute(net, tmp_path, changed)
    compute(network(seed=1), tmp_path)
    compute(network(size=24), tmp_path)
    compute(net, tmp_path, precision="bf16-mixed")
    statistics = network()
    next(module for module in statistics.modules() if isinstance(module, nn.BatchNorm2d)).running_mean.add_(1)  # type: ignore[union-attr]
    moved = compute(statistics, tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 6
    assert not torch.equal(moved, compute(net, tmp_path))


def test_a_damaged_file_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = network()
    first = compute(net, tmp_path)
    (path,) = (tmp_path / "features").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    assert torch.equal(compute(net, tmp_path), first)
    assert "damaged" in caplog.text
    caplog.clear()
    assert torch.equal(compute(net, tmp_path), first)
    assert caplog.text == ""


def test_a_folder_that_cannot_be_written_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    assert compute(network(), tmp_path).shape == (12, 512)
    assert "not cached" in caplog.text
