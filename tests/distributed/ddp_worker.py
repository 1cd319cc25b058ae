"""What two processes of one group do for `test_ddp.py`, each with what it saw as its result."""

import copy
import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.conftest import composed
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.learner import prepare
from tlcl.continual.loop import TaskLoop
from tlcl.data.datamodule import Batch, ImageDataModule
from tlcl.data.sources.registry import load_source
from tlcl.distributed.collectives import average, first_difference, gathered, take_from_first
from tlcl.distributed.ddp import ThawingDDP
from tlcl.errors import TrainingError
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.thaw import Thaw, set_trainable
from tlcl.finetuning.trainer import build_trainer, fit
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.tracking.records import ReadOnlyRunDirectory, RunDirectory

THAWING = [
    "model=small_cnn", "trainer.devices=2", "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3]",
    "+thaw.2=[layer2]", "trainer.epochs=3", "data.train_size=97", "data.val_size=41", "data.batch_size=16",
    "data.crop_padding=0",
]  # fmt: skip
TASKS = [
    "model=small_cnn", "trainer.devices=2", "continual=class_incremental", "continual.classes_per_task=5",
    "trainer.select=last", "thaw.depth=1", "trainer.epochs=2", "data.train_size=100", "data.val_size=0",
    "data.batch_size=8",
]  # fmt: skip
METHODS = {
    "er": ["method.buffer_size=30"],
    "der_pp": ["method.buffer_size=30"],
    "agem": ["method.buffer_size=30"],
    "icarl": ["method.buffer_size=30"],
    "ewc": [],
    "si": [],
}


def small_batches() -> None:
    """Validation batches so small that the processes have different numbers of them."""
    import tlcl.data.datamodule as module

    module.EVAL_BATCH = 4  # type: ignore[misc]


class Watched(FinetuningModule):
    """Keeps, of the first batch of each epoch, the gradient of this process alone and the one that is applied."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: dict[int, list[Tensor]] = {}
        self.alone: dict[int, dict[str, Tensor]] = {}
        self.of_all: dict[int, dict[str, Tensor]] = {}
        self.applied: dict[int, dict[str, Tensor]] = {}

    def gradient(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        twin = copy.deepcopy(self.net)
        trained = {name: value for name, value in twin.named_parameters() if value.requires_grad}
        loss = nn.functional.cross_entropy(twin(images), labels)
        return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).append(batch.indices)
        if batch_idx == 0:
            self.alone[self.current_epoch] = self.gradient(batch.images, batch.labels)
            self.of_all[self.current_epoch] = self.gradient(gathered(batch.images), gathered(batch.labels))
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.current_epoch not in self.applied:
            self.applied[self.current_epoch] = {
                name: value.grad.clone() for name, value in self.net.named_parameters() if value.grad is not None
            }


class States(L.Callback):
    """The state after each epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.states.append({key: value.clone() for key, value in pl_module.net.state_dict().items()})  # type: ignore[operator,union-attr]
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def network_and_data(folder: Path) -> tuple[Config, Blocks, ImageDataModule]:
    """A network with BatchNorm in `layer3`."""
    config = parse_config(composed(folder, *THAWING))
    data = ImageDataModule(load_source(config.data, config.cache_dir), config.data, config.seed)
    net, _ = build_model(config.model, len(data.classes), config.seed)
    layer3 = net.block("layer3")
    assert isinstance(layer3, nn.Sequential)
    layer3.append(nn.BatchNorm1d(100))
    return config, net, data


def thawing(folder: Path, naive: bool) -> dict[str, Any]:
    """Three epochs in which blocks thaw; `naive`: frozen first, then wrapped once by DDP."""
    config, net, data = network_and_data(folder)
    module = Watched(net, len(data.classes), config.optim, config.seed)
    kept = States()
    with pytest.MonkeyPatch.context() as patch:
        if naive:
            set_trainable(net, frozenset(["head"]))
            patch.setattr(ThawingDDP, "wrap_what_trains", lambda self: None)
        trainer = build_trainer(config, folder, [Thaw(config.schedule), kept], [], enable_checkpointing=False)
        try:
            fit(trainer, module, data, None, folder)
            stopped = ""
        except TrainingError as error:
            stopped = str(error)
    return {
        "stopped": stopped,
        "seen": {epoch: torch.cat(batches) for epoch, batches in module.seen.items()},
        "alone": module.alone, "of_all": module.of_all, "applied": module.applied,
        "states": kept.states, "metrics": kept.metrics,
        "train": data.split.train, "val": data.split.val,
    }  # fmt: skip


def loop_of(folder: Path, name: str, directory: RunDirectory) -> TaskLoop:
    """The loop over two tasks by the method `name`."""
    config = parse_config(composed(folder, *TASKS, f"method={name}", *METHODS[name]))
    learner = prepare(config, load_source(config.data, config.cache_dir))
    pool, test = learner.stream.source.pool.images, learner.stream.source.test.images
    return TaskLoop(
        config, directory, learner.stream, learner.net, learner.network, learner.method, pool, test,
        torch.device("cpu"), [], lambda *_: None,
    )  # fmt: skip


def continual(folder: Path, name: str, rank: int) -> dict[str, Any]:
    path = folder / name
    if rank == 0:
        RunDirectory(path, resume=False).close()
    dist.barrier()
    loop = loop_of(path, name, ReadOnlyRunDirectory(path))
    history = loop.run()
    assert isinstance(loop.method, nn.Module)
    method = {key: value for key, value in loop.method.state_dict().items() if isinstance(value, Tensor)}
    buffer = getattr(loop.method, "buffer", None)
    return {
        "method": method,
        "net": loop.net.state_dict(),
        "rows": history.rows,
        "offered": buffer.offered if isinstance(buffer, RehearsalBuffer) else None,
    }


def talk(rank: int) -> dict[str, Any]:
    """What the collectives make of different values, and what two processes draw from one buffer."""
    values = [torch.full((2, 3), float(rank)), torch.tensor(3.0 + rank)]
    average(values)
    linear, same = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.copy_(torch.tensor([0.0, float(rank)]))
    before = first_difference(linear)
    take_from_first(linear)
    take_from_first(same)
    draws = []
    for size in (20, 6):
        buffer = RehearsalBuffer(30, (1,), torch.int64)
        buffer.replace(torch.arange(size)[:, None], torch.arange(size))
        stored = buffer.sample(8, torch.Generator().manual_seed(1))
        assert stored is not None
        draws.append(stored.labels)
    return {
        "gathered": gathered(torch.tensor([[rank, 10 * rank]])),
        "average": values,
        "before": before,
        "bias": linear.bias.detach(),
        "after": [first_difference(linear), first_difference(same)],
        "draws": draws,
    }


def work(rank: int, folder: str, port: int) -> None:
    """Everything, as process `rank` of two."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "NODE_RANK": 0, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in places.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    small_batches()
    path = Path(folder)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    result: dict[str, Any] = {"talk": talk(rank)}
    result["thawing"] = thawing(path, naive=False)
    result["naive"] = thawing(path, naive=True)
    result["continual"] = {name: continual(path / "continual", name, rank) for name in METHODS}
    dist.destroy_process_group()
    torch.save(result, path / f"{rank}.pt")
