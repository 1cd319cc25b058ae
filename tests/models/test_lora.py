"""LoRA against its formula on a ViT in blocks: what trains, what is merged, and a run killed and resumed."""

import copy
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.conftest import composed, go, refusal
from tests.jobs.conftest import Killed, kill_at_batch, same_finetuning, summary
from tlcl.config.schema import OptimConfig
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.thaw import learning_blocks, set_trainable
from tlcl.jobs.finished import load_run
from tlcl.models.blocks import Blocks, InputTransform
from tlcl.models.build import build_model
from tlcl.models.lora import add_lora, base_weights, lora_layers, merge_lora

RUN = [
    "model=small_cnn", "++model.lora=3", "++model.lora_alpha=6", "thaw=milestones", "+thaw.0=[head]",
    "+thaw.1=[layer3]", "+thaw.2=[layer2]", "trainer.epochs=4", "optim.name=adamw", "optim.lr=0.01",
]  # fmt: skip
SGD = OptimConfig("sgd", 0.1, 1.0, {}, 0.9, 0.01, "constant", 0)


class Stem(nn.Module):
    """What timm's ViT does before its blocks."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.patch_embed, self.cls_token, self.pos_embed = vit.patch_embed, vit.cls_token, vit.pos_embed

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x)
        tokens = tokens if tokens.ndim == 3 else tokens.flatten(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1) + self.pos_embed


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


@pytest.fixture
def vit() -> Blocks:
    torch.manual_seed(0)
    whole = timm.create_model("test_vit", num_classes=10, img_size=32)
    blocks: dict[str, nn.Module] = {"stem": Stem(whole)}
    blocks |= {f"blocks_{number}": block for number, block in enumerate(whole.blocks)}
    blocks["head"] = nn.Sequential(OrderedDict(first=First(), fc=nn.Linear(64, 10)))
    return Blocks(InputTransform(32, (0.5,) * 3, (0.5,) * 3), blocks).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def step(net: Blocks, images: Tensor, steps: int = 5) -> None:
    optimizer = build_optimizer(net, SGD)
    labels = torch.arange(len(images)) % 10
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()


def test_the_network_is_the_same_until_it_trains_and_equal_for_equal_seeds(vit: Blocks, images: Tensor) -> None:
    before, twin, other = vit(images), copy.deepcopy(vit), copy.deepcopy(vit)
    drawn = torch.random.get_rng_state()
    add_lora(vit, 4, 8, seed=1)
    assert torch.equal(drawn, torch.random.get_rng_state())
    add_lora(twin, 4, 8, seed=1)
    add_lora(other, 4, 8, seed=2)
    assert torch.equal(vit(images), before)
    ours, theirs = vit.state_dict(), twin.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert any(not torch.equal(value, other.state_dict()[key]) for key, value in ours.items())


def test_merged_weights_are_those_of_the_formula_under_the_keys_of_before(vit: Blocks, images: Tensor) -> None:
    start = {key: value.clone() for key, value in vit.state_dict().items()}
    add_lora(vit, 4, 8, seed=0)
    set_trainable(vit, frozenset(vit.names))
    step(vit, images)
    vit.eval()
    trained = {key: value.clone() for key, value in vit.state_dict().items()}
    unmerged = vit(images)
    merge_lora(vit)
    merged = vit.state_dict()
    assert list(merged) == list(start)
    torch.testing.assert_close(vit(images), unmerged, rtol=0, atol=1e-5)
    layers = {name for name, module in vit.named_modules() if type(module) is nn.Linear and "head" not in name}
    for key, value in start.items():
        layer = key.removesuffix(".weight")
        if layer in layers and key.endswith(".weight"):
            a, b = (trained[f"{layer}.lora_{side}.default.weight"] for side in "AB")
            assert b.abs().max() > 0
            torch.testing.assert_close(merged[key], value + 8 / 4 * b @ a)
        elif "head" not in key:
            assert torch.equal(merged[key], value)


def test_matrices_of_thawed_blocks_and_the_head_train_and_nothing_else(vit: Blocks, images: Tensor) -> None:
    add_lora(vit, 2, 2, seed=0)
    last = vit.names[-2]
    set_trainable(vit, frozenset({last, "head"}))
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    groups = {group["name"]: group["params"] for group in build_optimizer(vit, SGD).param_groups}
    assert list(groups) == list(vit.names)
    for name in vit.names:
        assert {id(one) for one in groups[name]} == {id(one) for one in vit.block(name).parameters()}
    step(vit, images)
    moved = {key for key, value in vit.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert moved == {
        key for key in before if key.startswith("blocks.head.") or (f".{last}." in key and ".lora_" in key)
    }
    assert base_weights(vit)
    assert learning_blocks(vit, set(vit.names), "all") == list(vit.names[1:]), "the stem has no matrices"
    merge_lora(vit)
    assert base_weights(vit) == set()


def test_networks_that_it_does_not_fit_are_refused_in_a_sentence(
    tmp_path: Path, vit: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_small = lambda *keys: lambda: go(composed(tmp_path, "++model.lora=2", *keys))  # noqa: E731
    assert "BatchNorm" in str(refusal(go_small()))
    assert "optim.l2_sp" in str(refusal(go_small("model=small_cnn", "optim.l2_sp=0.1")))
    stream = ("continual=class_incremental", "method=naive", "trainer.select=last", "model=small_cnn")
    assert "model.lora=2" in str(refusal(go_small(*stream)))
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    bare = Blocks(vit.inputs, {"stem": stem, "head": nn.Sequential(nn.Linear(4, 2))})
    assert "have none" in str(refusal(lambda: lora_layers(bare)))
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'tlcl[peft]'" in str(refusal(lambda: add_lora(vit, 2, 2, 0)))


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_run_is_resumed_and_its_model_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None, select: str
) -> None:
    keys = [*RUN, f"trainer.select={select}"]
    whole = go(composed(tmp_path / "whole", *keys))
    config = composed(tmp_path / "cut", *keys)
    for epoch, batch in ((1, 1), (3, 0)):
        kill_at_batch(monkeypatch, epoch, batch)
        with pytest.raises(Killed):
            go(config)
    same_finetuning(whole, go(config))
    model = load_file(whole / "model.safetensors")
    net, _, parsed = load_run(whole)
    assert isinstance(net, Blocks)
    plain, backbone = build_model(parsed.model, 10, parsed.seed)
    start = backbone.native_state(plain)
    assert set(model) == set(start)
    moved = {key for key, value in start.items() if not torch.equal(value, model[key])}
    assert moved == {"layer2.fc.weight", "layer3.fc.weight", "head.fc.weight", "head.fc.bias"}
    difference = model["layer3.fc.weight"] - start["layer3.fc.weight"]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) == 3
    counts = summary(whole)["parameters"]
    assert counts["total"] == sum(value.numel() for value in start.values())
    assert summary(whole)["cka"] is not None
    inputs = start["layer2.fc.weight"].shape[1]
    assert counts["trained"] == 3 * (inputs + 100) + 3 * (100 + 100) + 100 * 10 + 10
