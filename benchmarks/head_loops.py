"""The loops of `benchmarks.head_phase`; each trains the head alone for some epochs on a frozen backbone.

All start from one set of weights, with BatchNorm in eval mode in the frozen blocks, and train with the same SGD,
cosine schedule, batch size and augmentation; nothing validates, logs or saves.
"""

import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.common import PilImages, fresh_network
from benchmarks.finetune import OPTIM, PlainModule, plain_trainer
from tlcl.config.schema import Config, DataConfig, LoggerConfig, ModelConfig, TrainerConfig
from tlcl.data.augment import random_flip
from tlcl.data.datamodule import BatchIndices, ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.optimizer import build_scheduler
from tlcl.finetuning.thaw import Thaw
from tlcl.models.blocks import Blocks
from tlcl.prefix_cache.callback import ServePrefix, can_serve
from tlcl.tracking.timings import Stopwatch

FIRST_IMAGES = 256  # that BatchNorm's statistics are of


@dataclass(frozen=True)
class Phase:
    """Seconds of all epochs with everything that they need, and the mean training loss of the last one."""

    seconds: float
    loss: float


@dataclass(frozen=True)
class Setup:
    """What all loops train on and how."""

    source: Source
    data: DataConfig
    epochs: int
    model: ModelConfig
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, source: Source, data: DataConfig, epochs: int, model: ModelConfig) -> "Setup":
        """With random weights, but BatchNorm knows the images, so features differ as a trained backbone's do."""
        net, _ = fresh_network(channels_last=False, size=model.input_size, model=model)
        averaged = False
        for module in net.train().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of all batches so far, here one
                averaged = True
        if averaged:
            with torch.no_grad():
                net(source.pool.images[:FIRST_IMAGES])
        return cls(source, data, epochs, model, net.state_dict())

    @cached_property
    def train(self) -> Tensor:
        """Indices of the training images in the pool."""
        return ImageDataModule(self.source, self.data, 0).split.train

    def network(self, *, channels_last: bool) -> Blocks:
        net, _ = fresh_network(channels_last=channels_last, size=self.model.input_size, model=self.model)
        net.load_state_dict(self.weights)
        return net


def ours(setup: Setup, precision: str, cache: str, folder: Path) -> Phase:
    return train_head(setup.network(channels_last=True), setup, precision, cache, folder)


def train_head(net: Blocks, setup: Setup, precision: str, cache: str, folder: Path) -> Phase:
    """By our training with data.cache_prefix=`cache`, whose files are in `folder`."""
    trainer_config = TrainerConfig(setup.epochs, "cpu", 1, precision, True, "last", 50, False)
    data_config = replace(setup.data, cache_prefix=cache)
    config = Config(
        "benchmark", 0, str(folder), str(folder), data_config, setup.model, OPTIM, trainer_config,
        LoggerConfig("none"), {"depth": 0},
    )  # fmt: skip
    module = FinetuningModule(net, 10, OPTIM, 0)
    data = ImageDataModule(setup.source, data_config, 0)
    start = time.perf_counter()
    prefix = [ServePrefix(config, data, Stopwatch())] if can_serve(config) else []
    trainer = plain_trainer(precision, [*prefix, Thaw(config.schedule)], setup.epochs)
    trainer.fit(module, datamodule=data)
    return Phase(time.perf_counter() - start, float(trainer.callback_metrics["train/loss"]))


def head_optimizer(net: Blocks) -> torch.optim.Optimizer:
    parameters = net.block("head").parameters()
    return torch.optim.SGD(
        parameters, lr=OPTIM.lr, momentum=OPTIM.momentum, nesterov=True, weight_decay=OPTIM.weight_decay
    )


def bare(setup: Setup, precision: str, *, once: bool) -> Phase:
    """A loop without any framework; with `once`, the features of images and mirror images are computed first."""
    net = setup.network(channels_last=True).requires_grad_(False).eval()
    net.block("head").requires_grad_(True)
    pool, config, random = setup.source.pool, setup.data, torch.Generator().manual_seed(0)
    batches = BatchIndices(setup.train, config.batch_size, shuffle=True)
    start, loss = time.perf_counter(), torch.zeros(())

    def features(images: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            return net.features(images).float()

    if once:
        kept = [torch.cat([features(images) for images in pool.images[setup.train].split(256)])]
        if config.flip:
            kept.append(torch.cat([features(images.flip(-1)) for images in pool.images[setup.train].split(256)]))
        place = torch.zeros(len(pool.labels), dtype=torch.int64)
        place[setup.train] = torch.arange(len(setup.train))
    optimizer = head_optimizer(net)
    scheduler = build_scheduler(optimizer, OPTIM, len(batches) * setup.epochs, setup.epochs)
    for epoch in range(setup.epochs):
        batches.set_epoch(epoch)
        loss.zero_()
        for indices in batches:
            if once:
                inputs = kept[0][place[indices]]
                if config.flip:
                    mirrored = torch.rand(len(indices), 1, generator=random) < 0.5
                    inputs = torch.where(mirrored, kept[1][place[indices]], inputs)
            else:
                images = pool.images[indices]
                inputs = features(random_flip(images, random) if config.flip else images)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                logits = net.classifier(inputs)
            one = nn.functional.cross_entropy(logits.float(), pool.labels[indices])
            optimizer.zero_grad()
            one.backward()
            optimizer.step()
            scheduler.step()
            loss += one.detach() * len(indices)
    return Phase(time.perf_counter() - start, float(loss) / len(setup.train))


class HeadModule(PlainModule):
    """The usual module, with the frozen BatchNorm layers in eval mode and the head's optimizer."""

    def __init__(self, net: Blocks) -> None:
        super().__init__(net, "head")
        self.train()  # Lightning keeps the modes it finds

    def train(self, mode: bool = True) -> "HeadModule":
        super().train(mode)
        for name in self.net.names[:-1]:
            self.net.block(name).eval()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:  # type: ignore[override]
        optimizer = head_optimizer(self.net)
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        scheduler = build_scheduler(optimizer, OPTIM, steps, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def to_input(net: Blocks) -> list[Any]:
    """What a loop over PIL images does with each."""
    mean, std = (values.flatten().div(255).tolist() for values in (net.inputs.mean, net.inputs.std))
    return [transforms.ToTensor(), transforms.Normalize(mean, std)]


def lightning(setup: Setup, workers: int, *, scheduled: bool) -> Phase:
    """Lightning with a dataset of PIL images, its transforms and a DataLoader whose workers stay.

    `scheduled`: finetuning-scheduler freezes the backbone, by a schedule of one phase.
    """
    pool = setup.source.pool
    flip = [transforms.RandomHorizontalFlip()] if setup.data.flip else []
    images = ImageTensors(pool.images[setup.train], pool.labels[setup.train], pool.classes)
    module = HeadModule(setup.network(channels_last=False))
    start = time.perf_counter()
    loader = DataLoader(
        PilImages(images, transforms.Compose([*flip, *to_input(module.net)])),
        batch_size=setup.data.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    with tempfile.TemporaryDirectory() as folder:
        callbacks = finetuning_scheduler(module, setup.epochs, folder) if scheduled else []
        trainer = plain_trainer("32-true", callbacks, setup.epochs, checkpoints=scheduled)
        trainer.fit(module, loader)
    return Phase(time.perf_counter() - start, float(trainer.callback_metrics["train/loss"]))


def finetuning_scheduler(module: HeadModule, epochs: int, folder: str) -> list[L.Callback]:
    """Its callback with the head as the only phase, and the checkpoints it insists on, of which none is saved."""
    from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint

    mine = {id(parameter) for parameter in module.net.block("head").parameters()}
    head = [name for name, parameter in module.named_parameters() if id(parameter) in mine]
    scheduler = FinetuningScheduler(
        ft_schedule={0: {"params": head, "max_transition_epoch": epochs}},
        epoch_transitions_only=True,
        restore_best=False,
        log_dir=folder,
        logging_level=40,
    )
    return [scheduler, FTSCheckpoint(dirpath=folder, save_top_k=0)]
