"""`python -m benchmarks.finetune`: images per second of our training loop beside two others, in one run.

(a) a bare PyTorch loop of the same model, optimizer, batches and precision, without any framework;
(b) Lightning with torchvision's CIFAR10-style dataset of PIL images, its transforms and a DataLoader.

One table trains everything, the other only the head on a frozen backbone. All loops train ResNet-18 at 32 pixels
on the same CIFAR-10-sized images (random pixels unless a tar of class folders is given), with the same crop and
flip. They take turns, epoch by epoch, so that a change of the machine's speed meets all of them; the ratio is
taken within each round. The machine has to be idle: oneDNN's threads spin while they wait for each other in the
backward pass of bf16 convolutions, so a busy core slows these loops many times over.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.common import (
    CROP_PADDING,
    PIL_TRAIN,
    Benchmark,
    PilImages,
    fresh_network,
    load_pool,
    markdown,
    measure,
    median_ratio,
    progress,
)
from tlcl.config.schema import DataConfig, OptimConfig
from tlcl.config.thaw import ThawSchedule
from tlcl.data.augment import random_crop, random_flip
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.optimizer import build_optimizer, build_scheduler
from tlcl.finetuning.thaw import Thaw
from tlcl.models.blocks import INPUTS, Blocks

OPTIM = OptimConfig("sgd", 0.02, 1.0, {}, 0.9, 5e-4, "cosine", 0)
Trained = Literal["everything", "head"]
Loops = dict[str, Callable[[], float]]


class PlainModule(L.LightningModule):
    """The usual LightningModule around a network that takes normalised floats.

    A backbone is frozen as in most code: requires_grad False, but in train mode with the rest.
    """

    def __init__(self, net: Blocks, trained: Trained) -> None:
        super().__init__()
        self.net = net.requires_grad_(trained == "everything")
        net.block("head").requires_grad_(True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.net(images, start=INPUTS), labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.net, OPTIM)


class EpochTimes(L.Callback):
    """Seconds of the batches of each epoch, without the set-up of the fit around them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def plain_trainer(
    precision: str, callbacks: list[L.Callback], epochs: int, *, checkpoints: bool = False
) -> L.Trainer:
    """A Trainer that trains and does nothing else; `checkpoints` allows a callback for them."""
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=checkpoints,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=callbacks,
    )


def lightning_epoch(module: L.LightningModule, precision: str, callbacks: list[L.Callback], **data: Any) -> float:
    """Seconds of one epoch under a new Trainer."""
    times = EpochTimes()
    plain_trainer(precision, [*callbacks, times], 1).fit(module, **data)
    return times.seconds[0]


def ours(data: ImageDataModule, depth: int, precision: str, size: int = 32) -> float:
    """Seconds of an epoch that trains the head and the last `depth` blocks of the backbone."""
    net, _ = fresh_network(channels_last=True, size=size)
    module = FinetuningModule(net, 10, OPTIM, 0)
    return lightning_epoch(module, precision, [Thaw(ThawSchedule.from_depth(depth))], datamodule=data)


def bare(data: ImageDataModule, trained: Trained, precision: str) -> float:
    net, _ = fresh_network(channels_last=True)
    everything = trained == "everything"
    net.requires_grad_(everything).train(everything)
    net.block("head").requires_grad_(True).train()
    optimizer = build_optimizer(net, OPTIM)
    pool, order = data.source.pool, torch.randperm(len(data.split.train))
    batches, random = data.split.train[order].split(data.config.batch_size), torch.Generator().manual_seed(0)
    scheduler = build_scheduler(optimizer, OPTIM, len(batches), 1)
    start = time.perf_counter()
    for indices in batches:
        images = random_flip(random_crop(pool.images[indices], data.config.crop_padding, random), random)
        # Each weight is cast once a step, so autocast's cache of casts (which Lightning too turns off) only costs.
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False):
            with torch.set_grad_enabled(everything):
                features = net(images, stop="layer4")
            logits = net(features, start="layer4")
            loss = nn.functional.cross_entropy(logits.float(), pool.labels[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - start


def torchvision_loader(data: ImageDataModule, trained: Trained, workers: int) -> float:
    net, _ = fresh_network(channels_last=False)
    pool, train = data.source.pool, data.split.train
    items = PilImages(ImageTensors(pool.images[train], pool.labels[train], pool.classes), PIL_TRAIN)
    loader = DataLoader(items, batch_size=data.config.batch_size, shuffle=True, num_workers=workers)
    return lightning_epoch(PlainModule(net, trained), "32-true", [], train_dataloaders=loader)


def loops(data: ImageDataModule, trained: Trained, workers: int) -> Loops:
    depth = 5 if trained == "everything" else 0
    return {
        "tlcl": lambda: ours(data, depth, "32-true"),
        "bare PyTorch": lambda: bare(data, trained, "32-true"),
        "tlcl bf16": lambda: ours(data, depth, "bf16-mixed"),
        "bare PyTorch bf16": lambda: bare(data, trained, "bf16-mixed"),
        "Lightning + torchvision loader": lambda: torchvision_loader(data, trained, workers),
        "Lightning + torchvision loader, no workers": lambda: torchvision_loader(data, trained, 0),
    }


def table(trained: Trained, seconds: dict[str, list[float]], images: int) -> str:
    rows = []
    for name, times in seconds.items():
        rates = [images / second for second in times]
        ratios = [median_ratio(times, seconds[base]) for base in ("tlcl", "tlcl bf16")]
        rows.append(
            [name, f"{max(rates):.0f}", f"{statistics.median(rates):.0f}", *(f"{ratio:.2f}" for ratio in ratios)]
        )
    header = [f"trained: {trained}", "img/s best", "img/s median", "tlcl / it", "tlcl bf16 / it"]
    return markdown(header, rows)


def build_data(tar: Path | None, images: int, batch_size: int) -> ImageDataModule:
    """`images` to train on, with crop and flip."""
    pool = load_pool(tar, images + 100)
    config = DataConfig("benchmark", images, 100, batch_size, CROP_PADDING, True)
    return ImageDataModule(Source(pool, pool), config, 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", choices=["all", "everything", "head"], default="all", help="which table")
    parser.add_argument("--images", type=int, default=5000, help="training images an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="DataLoader workers of the torchvision loop")
    parser.add_argument("--tar", type=Path, help="a tar of class folders to take the images from")


def section(options: argparse.Namespace) -> str:
    data = build_data(options.tar, options.images, options.batch_size)
    text = (
        f"{options.images} images an epoch, batch {options.batch_size}, {options.rounds} rounds, "
        f"{options.workers} workers; ratios of images per second, median of the ratios within each round.\n"
    )
    tables: tuple[Trained, ...] = ("everything", "head")
    for trained in tables:
        if options.only in ("all", trained):
            progress(f"finetune: {trained}")
            seconds = measure(loops(data, trained, options.workers), options.rounds)
            text += f"\n{table(trained, seconds, options.images)}\n"
    return text


BENCHMARK = Benchmark(
    "benchmarks.finetune", "An epoch of fine-tuning", __doc__, add_options, section,
    ("--images", "256", "--rounds", "1"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
