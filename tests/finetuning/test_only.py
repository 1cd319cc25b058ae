"""Norms and biases alone: which parameters train, against the names that libraries give them."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

from tests.finetuning.test_thaw import make
from tlcl.errors import UserError
from tlcl.finetuning.thaw import Thaw, chosen_parameters, learning_blocks, set_trainable
from tlcl.jobs.remarks import idle_words
from tlcl.tracking.epochs import EpochRecords
from tlcl.tracking.records import RunDirectory, read_lines


def names(net: nn.Module, only: str) -> set[str]:
    chosen = {id(parameter) for parameter in chosen_parameters(net, only)}
    return {name for name, parameter in net.named_parameters() if id(parameter) in chosen}


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("resnet18", ("bn1", "bn2", "downsample.1")),
        ("efficientnet_lite0", ("bn1", "bn2", "bn3")),
        ("vit_tiny_patch16_224", ("norm1", "norm2", "norm")),
        ("convnext_atto", ("norm", "stem.1", "downsample.0")),
        ("mixer_s32_224", ("norm1", "norm2", "norm")),
        ("poolformer_s12", ("norm1", "norm2", "norm")),
        ("vit_base_patch16_rope_reg1_gap_256", ("norm1", "norm2", "norm", "fc_norm")),
    ],
)
def test_norms_and_biases_of_any_network(model: str, parts: tuple[str, ...]) -> None:
    """Told by the modules' classes, the norms are those that the networks' authors call so."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        net = timm.create_model(model)
    every = {name for name, _ in net.named_parameters()}
    norms = {name for name in every if name.rpartition(".")[0].endswith(parts)}
    biases = {name for name in every if name.split(".")[-1] == "bias"}
    assert norms
    assert names(net, "all") == every
    assert names(net, "norms") == norms
    assert names(net, "biases") == biases
    assert names(net, "norms_and_biases") == norms | biases


def test_classes_of_their_own() -> None:
    class T5RmsNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

    class NormFreeBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))
            self.conv = nn.Conv2d(3, 3, 1)

    class NormLinear(nn.Linear):
        pass

    net = nn.Sequential(T5RmsNorm(), NormFreeBlock(), NormLinear(3, 3), nn.RMSNorm(3), nn.GroupNorm(1, 3))
    assert names(net, "norms") == {"0.weight", "3.weight", "4.weight", "4.bias"}


def test_the_rest_of_a_thawed_block_is_frozen_and_the_head_trains_wholly(tmp_path: Path) -> None:
    _, module, _ = make(tmp_path)
    net = module.net
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_trainable(net, frozenset({"layer4", "head"}), "norms")
    for name, parameter in net.named_parameters():
        block = name.split(".")[1]
        trains = block == "head" or (block == "layer4" and parameter.ndim == 1)
        assert parameter.requires_grad == trains, name
        assert (parameter.grad is None) != trains, name


@pytest.mark.parametrize(("only", "statistics"), [("norms", True), ("norms_and_biases", True), ("biases", False)])
def test_what_moves_in_an_epoch(tmp_path: Path, only: str, statistics: bool) -> None:
    """Weight decay passes over what is frozen; BatchNorm's statistics move only with its own scale."""
    config, module, data = make(tmp_path, "thaw.depth=2", f"thaw.only={only}", "trainer.epochs=1")
    before = {key: value.clone() for key, value in module.net.state_dict().items()}
    trainer = L.Trainer(
        max_epochs=1, callbacks=[Thaw(config.schedule)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", limit_train_batches=2,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    after = module.net.state_dict()
    thawed = [key for key in before if key.split(".")[1] in ("layer3", "layer4")]
    kinds = {
        "kernel": [key for key in thawed if before[key].ndim > 1],
        "scale": [key for key in thawed if key.endswith("weight") and before[key].ndim == 1],
        "shift": [key for key in thawed if key.endswith("bias")],
        "statistics": [key for key in thawed if "running" in key],
    }
    moved = {kind for kind, keys in kinds.items() if any(not torch.equal(before[key], after[key]) for key in keys)}
    assert all(kinds.values())
    assert moved == {"shift"} | ({"scale", "statistics"} if statistics else set())
    frozen = [key for key in before if key.split(".")[1] in ("stem", "layer1", "layer2")]
    assert all(torch.equal(before[key], after[key]) for key in frozen)


def test_blocks_in_which_nothing_trains_are_named(tmp_path: Path) -> None:
    one = ["model=small_cnn", "thaw.depth=null", "thaw.blocks=[layer3]", "thaw.only=norms"]
    config, module, _ = make(tmp_path, "optim.head=fitted", *one)
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
    with pytest.raises(UserError, match=r"thaw\.only=norms leaves nothing to train in layer3"):
        Thaw(config.schedule).on_train_epoch_start(trainer, module)


def test_a_block_without_what_is_chosen_is_not_recorded_as_trained(tmp_path: Path) -> None:
    """small_cnn has no normalisation, so that of its thawed blocks the head alone learns; a warning says so."""
    config, module, data = make(tmp_path, "model=small_cnn", "thaw.depth=2", "thaw.only=norms", "trainer.epochs=1")
    directory = RunDirectory(tmp_path / "records", resume=False)
    trainer = L.Trainer(
        max_epochs=1, callbacks=[Thaw(config.schedule), EpochRecords(directory)], logger=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", limit_train_batches=2,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert [line["trainable"] for line in read_lines(directory.path / "metrics.jsonl")] == [["head"]]
    thawed = config.schedule.trainable(0)
    *blocks, _ = [name for name in module.net.names if name in thawed]
    assert len(blocks) == 2
    assert learning_blocks(module.net, thawed, "norms") == ["head"]
    assert learning_blocks(module.net, thawed, "biases") == [*blocks, "head"]
    said = f"warning: {', '.join(blocks)} have no parameters that thaw.only=norms names"
    assert idle_words(module.net, thawed, "norms").startswith(said)
    assert idle_words(module.net, thawed, "biases") == ""
