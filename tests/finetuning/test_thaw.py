"""What frozen means, epoch by epoch, on a real ResNet-18 under a real Trainer."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from tests.conftest import composed
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.config.thaw import BLOCKS, ThawSchedule
from tlcl.data.augment import mixup_pairs
from tlcl.data.datamodule import Batch, ImageDataModule
from tlcl.data.sources.digits import load_digits
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.thaw import Thaw, set_trainable
from tlcl.models.build import build_model
from tlcl.seeding import generator

SCHEDULE = ["thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]", "+thaw.3=[layer3,layer2]", "trainer.epochs=4"]


class Witness(L.Callback):
    """Copies of every tensor of the network at each epoch's start and end, and the optimizer's view of it."""

    def __init__(self) -> None:
        self.before: list[dict[str, torch.Tensor]] = []
        self.after: list[dict[str, torch.Tensor]] = []
        self.with_state: list[set[str]] = []
        self.groups: list[list[str]] = []
        self.modes_ok = True

    def copy(self, module: Any) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in module.net.state_dict().items()}

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.before.append(self.copy(pl_module))

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        for name in BLOCKS:
            expected = name in pl_module.trainable_blocks
            self.modes_ok &= all(m.training == expected for m in pl_module.net.block(name).modules())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.after.append(self.copy(pl_module))
        optimizer = trainer.optimizers[0]
        names = {parameter: name for name, parameter in pl_module.net.named_parameters()}
        self.with_state.append({names[parameter].split(".")[1] for parameter in optimizer.state})
        self.groups.append([group["name"] for group in optimizer.param_groups])
        for name, parameter in pl_module.net.named_parameters():
            if name.split(".")[1] not in pl_module.trainable_blocks:
                assert parameter.grad is None


def make(tmp_path: Path, *overrides: str) -> tuple[Config, FinetuningModule, ImageDataModule]:
    config = parse_config(composed(tmp_path, *overrides))
    data = ImageDataModule(load_digits(), config.data, config.seed)
    net, _ = build_model(config.model, 10, config.seed)
    return config, FinetuningModule(net, 10, config.optim, config.seed), data


def trainer(epochs: int, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **options,
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_thawed_blocks_change(tmp_path: Path, optimizer: str) -> None:
    config, module, data = make(tmp_path, *SCHEDULE, f"optim.name={optimizer}", "optim.weight_decay=0.1")
    witness = Witness()
    trainer(4, Thaw(config.schedule), witness).fit(module, datamodule=data)
    assert witness.modes_ok
    for epoch, (before, after) in enumerate(zip(witness.before, witness.after, strict=True)):
        trainable = config.schedule.trainable(epoch)
        for key in before:
            if key.split(".")[1] not in trainable:
                # Weights and BatchNorm statistics, to the bit: no update, no decay, no drift.
                assert torch.equal(before[key], after[key]), (epoch, key)
        for block in trainable:
            parameters = [key for key in before if key.startswith(f"blocks.{block}.") and key.endswith("weight")]
            assert all(not torch.equal(before[key], after[key]) for key in parameters), (epoch, block)
            moved = [key for key in before if key.startswith(f"blocks.{block}.") and "running_mean" in key]
            assert all(not torch.equal(before[key], after[key]) for key in moved), (epoch, block)
        assert witness.with_state[epoch] == trainable
        assert witness.groups[epoch] == list(BLOCKS)


def test_frozen_survives_whoever_calls_train(tmp_path: Path) -> None:
    _, module, _ = make(tmp_path)
    module.trainable_blocks = frozenset({"head"})
    set_trainable(module.net, module.trainable_blocks)
    for call in (module.train, module.eval, module.train):
        call()
    norms = [m for m in module.net.block("layer1").modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert module.net.block("head").training


def test_batch_norm_of_thawed_blocks_can_keep_its_statistics(tmp_path: Path) -> None:
    """Its scale and shift learn all the same, and the blocks' other weights."""
    config, module, data = make(tmp_path, "thaw.depth=2", "trainer.epochs=2", "optim.batch_norm=frozen")
    before = {key: value.clone() for key, value in module.net.state_dict().items()}
    trainer(2, Thaw(config.schedule)).fit(module, datamodule=data)
    after = module.net.state_dict()
    statistics = [key for key in before if "running_" in key or "num_batches" in key]
    assert statistics
    assert all(torch.equal(before[key], after[key]) for key in statistics)
    thawed = [key for key in before if key.split(".")[1] in ("layer3", "layer4", "head") and key not in statistics]
    assert any("bn1.weight" in key for key in thawed)
    assert all(not torch.equal(before[key], after[key]) for key in thawed)


def test_mixup_and_label_smoothing_are_in_the_loss(tmp_path: Path) -> None:
    """Against mixing one-hot labels by hand, which for cross-entropy is the same."""
    _, module, data = make(tmp_path, "optim.label_smoothing=0.2", "thaw.depth=0")
    module.eval()
    images, labels = data.source.pool.images[:12], data.source.pool.labels[:12]
    module.mixup, module._mixing = 0.7, generator(5, "mixup")
    logits, loss = module.answer(Batch(images, labels, labels))
    others, share = mixup_pairs(12, 0.7, generator(5, "mixup"))
    assert torch.allclose(logits, module.net(share * images + (1 - share) * images[others]))
    one_hot = nn.functional.one_hot(labels, 10).double()
    smooth = 0.8 * (share * one_hot + (1 - share) * one_hot[others]) + 0.2 / 10
    assert float(loss) == pytest.approx(float(-(smooth * logits.double().log_softmax(1)).sum(1).mean()), abs=1e-5)
    module.mixup = 0.0
    plain, loss = module.answer(Batch(images, labels, labels))
    smooth = 0.8 * one_hot + 0.2 / 10
    assert float(loss) == pytest.approx(float(-(smooth * plain.double().log_softmax(1)).sum(1).mean()), abs=1e-5)


def test_trained_numbers_equal_a_hand_written_loop(tmp_path: Path) -> None:
    """Two epochs with a milestone between them, against plain PyTorch with its own freezing."""
    overrides = ["thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer4]", "trainer.epochs=2"]
    config, module, data = make(tmp_path, *overrides, "data.crop_padding=0", "optim.schedule=constant")
    net, _ = build_model(config.model, 10, config.seed)
    trainer(2, Thaw(config.schedule)).fit(module, datamodule=data)

    rates = {name: config.optim.lr * config.optim.block_lr_decay ** (5 - i) for i, name in enumerate(BLOCKS)}
    optimizer = torch.optim.SGD(
        [{"params": net.block(name).parameters(), "lr": rates[name]} for name in BLOCKS],
        lr=config.optim.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=config.optim.weight_decay,
    )
    loader = data.train_dataloader()
    for epoch in range(2):
        for name in BLOCKS:
            on = name == "head" or (name == "layer4" and epoch == 1)
            net.block(name).train(on)
            net.block(name).requires_grad_(on)
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch.images), batch.labels).backward()
            optimizer.step()
    ours, theirs = module.net.state_dict(), net.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_per_block_learning_rates(tmp_path: Path) -> None:
    config, module, _ = make(
        tmp_path, "optim.lr=0.1", "optim.block_lr_decay=0.5", "+optim.block_lr.layer1=0.0007", "thaw=all"
    )
    groups = build_optimizer(module.net, config.optim).param_groups
    rates = {group["name"]: group["lr"] for group in groups}
    expected = {"head": 0.1, "layer4": 0.05, "layer3": 0.025, "layer2": 0.0125, "layer1": 0.0007, "stem": 0.003125}
    assert rates == pytest.approx(expected)
    assert sum(len(group["params"]) for group in groups) == len(list(module.net.parameters()))


def test_lightnings_own_callback_has_the_faults_that_ours_has_not(tmp_path: Path) -> None:
    """BackboneFinetuning adds its group late (so schedulers and resumes see another number of groups)."""
    from lightning.pytorch.callbacks import BackboneFinetuning

    class Theirs(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)
            self.groups: list[int] = []

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.head(self.backbone(batch)).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

        def on_train_epoch_end(self) -> None:
            self.groups.append(len(self.trainer.optimizers[0].param_groups))

    theirs = Theirs()
    batches = torch.utils.data.DataLoader(torch.randn(16, 2), batch_size=8)
    trainer(2, BackboneFinetuning(unfreeze_backbone_at_epoch=1)).fit(theirs, batches)
    assert theirs.groups == [1, 2]

    config, module, data = make(tmp_path, *SCHEDULE)
    witness = Witness()
    trainer(4, Thaw(config.schedule), witness).fit(module, datamodule=data)
    assert {len(groups) for groups in witness.groups} == {6}


def test_thaw_holds_no_state() -> None:
    assert Thaw(ThawSchedule({0: ["head"]})).state_dict() == {}
