from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import composed, go
from tlcl.adaptation.methods.base import width
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.finetuning.thaw import set_trainable
from tlcl.jobs import finetune as finetuning
from tlcl.jobs.finished import load_run
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.small_cnn import SmallCNNConfig
from tlcl.models.weights import apply_weights


def small(size: int = 32, dropout: float = 0.0, classes: int = 10) -> Blocks:
    config = SmallCNNConfig(name="small_cnn", weights="none", input_size=size, dropout=dropout)
    return build_model(config, classes, seed=0)[0]


def test_is_the_network_of_the_papers_for_mnist() -> None:
    """Conv 5x5 32, pool, conv 5x5 48, pool, 768 -> 100 -> 100 -> 10 for 28-pixel images (Ganin et al. 2016)."""
    layers = [part for part in small(28).modules() if isinstance(part, nn.Conv2d | nn.Linear | nn.MaxPool2d)]
    assert [type(part) for part in layers] == [nn.Conv2d, nn.MaxPool2d] * 2 + [nn.Linear] * 3
    assert [tuple(part.weight.shape) for part in layers if not isinstance(part, nn.MaxPool2d)] == [
        (32, 3, 5, 5), (48, 32, 5, 5), (100, 768), (100, 100), (10, 100)
    ]  # fmt: skip


@pytest.mark.parametrize("size", [16, 17, 28, 32, 64])
def test_runs_in_parts_at_every_size(size: int) -> None:
    net = small(size, dropout=0.5).eval()
    assert net.names == SmallCNNConfig.all_blocks
    images = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    whole = net(images)
    assert whole.shape == (3, 10)
    for place in net.places:
        torch.testing.assert_close(net(net(images, stop=place), start=place), whole, rtol=0, atol=0)
    assert width(net, "layer1") == 48
    assert width(net, "features") == net.classifier.in_features == 100


def test_too_small_images_and_imagenet_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"model.input_size=15 must be at least 16"):
        small(15)
    config = SmallCNNConfig(name="small_cnn", weights="imagenet", input_size=32)
    with pytest.raises(UserError, match="no ImageNet weights of model=small_cnn"):
        apply_weights(*build_model(config, 10, seed=0), "imagenet")


def test_dropout_is_of_what_the_last_layer_takes_alone() -> None:
    net = small(16, dropout=0.9).train()
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(net(images, stop="layer3"), net(images, stop="layer3"), rtol=0, atol=0)
    features = net(images, stop="features")
    torch.testing.assert_close(features, net(images, stop="layer3"), rtol=0, atol=0)
    drop, last = net.parts("head")
    kept = drop(features) != 0
    assert kept.sum() < 0.5 * (features != 0).sum()
    set_trainable(net, frozenset({"layer3"}))  # a frozen head: in eval
    torch.testing.assert_close(net(images), last(net(images, stop="features")), rtol=0, atol=0)


@pytest.mark.parametrize("value", ["-0.1", "1.0"])
def test_impossible_dropout_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"model\.dropout"):
        parse_config(composed(tmp_path, "model=small_cnn", f"model.dropout={value}"))


def test_fine_tunes_thaws_and_predicts(tmp_path: Path) -> None:
    """Frozen blocks stay as they began, thawed ones move, and the exported file is loaded again."""
    thaw = ["thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3]"]
    config = composed(tmp_path, "model=small_cnn", "trainer.epochs=2", "trainer.select=last", *thaw)
    path = go(config, finetuning.run)
    net, _, parsed = load_run(path)
    assert isinstance(net, Blocks)
    start, _ = build_model(parsed.model, 10, parsed.seed)
    for name in net.names:
        pairs = zip(start.block(name).parameters(), net.block(name).parameters(), strict=True)
        moved = [not torch.equal(a, b) for a, b in pairs]
        assert all(moved) if name in ("layer3", "head") else not any(moved)
