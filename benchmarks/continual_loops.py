"""The loops of `benchmarks.continual`: tlcl's, a bare one, and avalanche-lib's; each gives the time of a task."""

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.common import MODEL, PIL_EVAL, PIL_TRAIN, PilImages, fresh_network
from tlcl.config.continual import ContinualConfig, MethodConfig, ReplayConfig
from tlcl.config.schema import Config, DataConfig, LoggerConfig, OptimConfig, TrainerConfig
from tlcl.continual import loop as task_loop
from tlcl.continual.buffer import reservoir_slots
from tlcl.continual.methods.base import Setting
from tlcl.continual.methods.der_pp import DERppConfig
from tlcl.continual.methods.registry import build_method
from tlcl.continual.stream import Stream
from tlcl.data.augment import random_crop, random_flip
from tlcl.data.datamodule import BatchIndices
from tlcl.data.image_tensors import ImageTensors
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.trainer import build_trainer
from tlcl.models.blocks import Blocks
from tlcl.tracking.records import RunDirectory

OPTIM = OptimConfig("sgd", 0.03, 1.0, {}, 0.0, 0.0, "constant", 0)
CLASSES = 10
# A buffer of whole replay batches, so that avalanche's loader over it has no smaller last one.
REPLAY, BUFFER, ALPHA = 32, 256, 0.01
METHODS: dict[str, MethodConfig] = {
    "naive": MethodConfig("naive"),
    "ER": ReplayConfig("er", buffer_size=BUFFER, replay_batch=REPLAY),
    "DER++": DERppConfig("der_pp", buffer_size=BUFFER, replay_batch=REPLAY, alpha=ALPHA, beta=0.5),
}


@dataclass(frozen=True)
class Timing:
    """Seconds and images of one task, or their means over tasks."""

    batches: float
    whole: float
    images: float


@dataclass(frozen=True)
class Setup:
    """What all loops train on and how."""

    stream: Stream
    continual: ContinualConfig
    data: DataConfig
    epochs: int


class Meter:
    """Times the tasks of one loop, and counts the images that enter `net` in training."""

    def __init__(self, net: nn.Module) -> None:
        self.tasks: list[Timing] = []
        self._seconds, self._images, self._began = 0.0, 0, 0.0
        self._last_end = time.perf_counter()
        net.register_forward_pre_hook(self._count)

    def _count(self, net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self._images += len(inputs[0])

    def start(self) -> None:
        self._began = time.perf_counter()

    def stop(self) -> None:
        self._seconds += time.perf_counter() - self._began

    def end_task(self) -> None:
        """Everything since the last task's end belongs to this one."""
        now = time.perf_counter()
        self.tasks.append(Timing(self._seconds, now - self._last_end, self._images))
        self._seconds, self._images, self._last_end = 0.0, 0, now

    def mean(self) -> Timing:
        """Over the tasks from the second on."""
        later = self.tasks[1:]
        return Timing(*(statistics.mean(getattr(task, part.name) for task in later) for part in fields(Timing)))


class FitTime(L.Callback):
    """From the start of the first epoch to the end of the fit: without Lightning's start-up."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.meter.start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.meter.stop()


def ours(setup: Setup, method: MethodConfig, precision: str) -> Timing:
    stream, source = setup.stream, setup.stream.source
    net, _ = fresh_network(channels_last=True)
    shape, features = tuple(source.pool.images.shape[1:]), net.classifier.in_features
    setting = Setting(stream.competing, shape, torch.uint8, features)
    trainer = TrainerConfig(setup.epochs, "cpu", 1, precision, True, "last", 50, False)
    meter = Meter(net)

    def timed_trainer(
        config: Config, path: Path, callbacks: list[L.Callback], *rest: Any, **more: Any
    ) -> L.Trainer:
        return build_trainer(config, path, [FitTime(meter), *callbacks], *rest, **more)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = Config(
            "benchmark", 0, folder, folder, setup.data, MODEL, OPTIM, trainer, LoggerConfig("none"), {"depth": 5},
            setup.continual, method,
        )  # fmt: skip
        directory = RunDirectory(Path(folder), resume=False)
        loop = task_loop.TaskLoop(
            config, directory, stream, net, net, build_method(method, setting, net), source.pool.images,
            source.test.images, torch.device("cpu"), [], lambda *task: meter.end_task(),
        )  # fmt: skip
        with mock.patch.object(task_loop, "build_trainer", timed_trainer):
            loop.run()
        directory.close()
    return meter.mean()


class Reservoir:
    """Places in the pool, and the logits of DER++: images that are in memory anyway need no copy."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.offered = capacity, 0
        self.indices = torch.zeros(capacity, dtype=torch.int64)
        self.logits = torch.zeros(capacity, CLASSES)

    def offer(self, indices: Tensor, logits: Tensor, random: torch.Generator) -> None:
        slots = reservoir_slots(self.offered, len(indices), self.capacity, random)
        self.offered += len(indices)
        if slots:
            where, which = torch.tensor(list(slots)), torch.tensor(list(slots.values()))
            self.indices[where], self.logits[where] = indices[which], logits[which]

    def sample(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        which = torch.randperm(min(self.offered, self.capacity), generator=random)[:REPLAY]
        return self.indices[which], self.logits[which]


def bare(setup: Setup, method: MethodConfig) -> Timing:
    net, _ = fresh_network(channels_last=True)
    meter, memory, random = Meter(net.train()), Reservoir(BUFFER), torch.Generator().manual_seed(0)
    pool, config = setup.stream.source.pool, setup.data

    def augmented(indices: Tensor) -> Tensor:
        images = random_crop(pool.images[indices], config.crop_padding, random)
        return random_flip(images, random) if config.flip else images

    def step_loss(net: Blocks, indices: Tensor) -> tuple[Tensor, Tensor]:
        labels = pool.labels[indices]
        replays = method.name != "naive" and memory.offered > 0
        if method.name == "er" and replays:
            past, _ = memory.sample(random)
            logits = net(torch.cat([augmented(indices), augmented(past)]))
            return nn.functional.cross_entropy(logits, torch.cat([labels, pool.labels[past]])), logits
        logits = net(augmented(indices))
        loss = nn.functional.cross_entropy(logits, labels)
        if isinstance(method, DERppConfig) and replays:
            past, stored = memory.sample(random)
            loss = loss + ALPHA * (net(augmented(past)) - stored).square().sum(1).mean()
            past, _ = memory.sample(random)
            loss = loss + method.beta * nn.functional.cross_entropy(net(augmented(past)), pool.labels[past])
        return loss, logits

    for task in setup.stream.tasks:
        optimizer = build_optimizer(net, OPTIM)
        batches = BatchIndices(task.split.train, config.batch_size, shuffle=True, task=task.index)
        meter.start()
        for epoch in range(setup.epochs):
            batches.set_epoch(epoch)
            for indices in batches:
                loss, logits = step_loss(net, indices)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if method.name != "naive":
                    memory.offer(indices, logits.detach(), random)
        meter.stop()
        meter.end_task()
    return meter.mean()


def avalanche(setup: Setup, method: MethodConfig, workers: int) -> Timing:
    from avalanche.benchmarks import nc_benchmark
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.training import DER, Naive
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin, SupervisedPlugin

    class Epochs(SupervisedPlugin):
        def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            meter.start()

        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            meter.stop()

    blocks, backbone = fresh_network(channels_last=False)
    net = torchvision.models.resnet18(num_classes=CLASSES)
    net.load_state_dict(backbone.native_state(blocks))
    meter = Meter(net.to(memory_format=torch.channels_last))
    pool, tasks = setup.stream.source.pool, setup.stream.tasks
    train = torch.cat([task.split.train for task in tasks])
    data = PilImages(ImageTensors(pool.images[train], pool.labels[train], pool.classes))
    experiences = nc_benchmark(
        data, data, n_experiences=len(tasks), task_labels=False, fixed_class_order=list(range(CLASSES)),
        train_transform=PIL_TRAIN, eval_transform=PIL_EVAL,
    ).train_stream  # fmt: skip
    plugins: list[Any] = [Epochs()]
    if method.name == "er":
        plugins.append(ReplayPlugin(BUFFER, batch_size_mem=REPLAY))
    common: dict[str, Any] = {
        "model": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=OPTIM.lr),
        "train_mb_size": setup.data.batch_size,
        "train_epochs": setup.epochs,
        "plugins": plugins,
        # The same two figures an epoch as tlcl's records.
        "evaluator": EvaluationPlugin(accuracy_metrics(epoch=True), loss_metrics(epoch=True)),
    }
    if isinstance(method, DERppConfig):
        # Its distance of the logits is a mean over the outputs, ours a sum.
        strategy = DER(
            mem_size=BUFFER, batch_size_mem=REPLAY, alpha=CLASSES * ALPHA, beta=method.beta, **common
        )
    else:
        strategy = Naive(**common)
    with warnings.catch_warnings(record=True):  # avalanche insists on showing its own deprecations
        for experience in experiences:
            strategy.train(experience, eval_streams=[], num_workers=workers, persistent_workers=workers > 0)
            meter.end_task()
    return meter.mean()
