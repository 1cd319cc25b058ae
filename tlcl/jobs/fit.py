"""Training from the last whole checkpoint on, and the weights that are chosen afterwards."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L

from tlcl.config.schema import Config
from tlcl.distributed.collectives import leads
from tlcl.errors import UserError
from tlcl.finetuning.early_stop import EarlyStop
from tlcl.finetuning.events import ThawByEvents
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.progress import RunProgress
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.trainer import build_trainer, fit
from tlcl.finetuning.weight_average import WeightAverage
from tlcl.models.blocks import Blocks
from tlcl.prefix_cache.callback import ServePrefix
from tlcl.tracking.checkpoint import (
    BEST,
    LastCheckpoint,
    latest_checkpoint,
    load_last,
    read_checkpoint,
    require_network,
)
from tlcl.tracking.epochs import EpochRecords
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import EpochTimings, Stopwatch
from tlcl.tracking.wandb import build_wandb

log = logging.getLogger(__name__)


def loggers_for(config: Config, directory: RunDirectory) -> list[Any]:
    """W&B's logger of this run directory, or none."""
    if config.logger.name != "wandb" or not leads():
        return []
    return [build_wandb(config, directory)]


def _resume_point(directory: RunDirectory, net: Blocks) -> tuple[Path | None, int]:
    """The checkpoint to resume from, if there is one, and how many epochs it has behind it.

    Raises:
        UserError: the run is complete and its checkpoints are gone, as with keep=model.
    """
    found = latest_checkpoint(directory.checkpoints)
    if found is None:
        if FinishedRun(directory.path).complete:
            raise UserError(
                f"{directory.path} is complete and has its model alone (keep=model): there is no checkpoint to go "
                f"on from; start another run with model.weights={directory.path}"
            )
        return None, 0
    path, content = found
    require_network(path, content, net)
    done = int(content["epoch"]) + 1
    log.info("resuming after epoch %d of %s", done - 1, directory.path)
    return path, done


def train(
    config: Config,
    directory: RunDirectory,
    module: FinetuningModule,
    data: L.LightningDataModule,
    watch: Stopwatch,
    *,
    prefix: Sequence[ServePrefix] = (),
    best: Sequence[L.Callback] = (),
) -> L.Trainer:
    """Train from the last whole checkpoint, or from the start when there is none.

    Args:
        best: what notes something of each epoch before the checkpoint is written.
    """
    callbacks: list[L.Callback] = [
        *([ThawByEvents(config)] if config.schedule.patience is not None else []),
        *([WeightAverage(module.net, config.optim.ema)] if config.optim.ema else []),
        *prefix,
        Thaw(config.schedule),
        RunProgress(config.trainer.progress),
        EpochRecords(directory),
        *best,
        *([EarlyStop(config)] if config.trainer.patience is not None else []),
        LastCheckpoint(directory.checkpoints, watch),
        EpochTimings(directory, watch),
    ]
    trainer = build_trainer(config, directory.path, callbacks, loggers_for(config, directory))
    checkpoint, done = _resume_point(directory, module.net)
    for name in ("metrics.jsonl", "timings.jsonl"):
        directory.keep_lines(name, lambda line: line["epoch"] < done)
    fit(trainer, module, data, checkpoint, directory.path)
    return trainer


def select_weights(config: Config, directory: RunDirectory, net: Blocks) -> dict[str, Any]:
    """Load the weights that `trainer.select` names into `net`; return epoch and validation figures of both."""
    lines = {line["epoch"]: line for line in read_lines(directory.path / "metrics.jsonl")}
    best = read_checkpoint(directory.checkpoints / BEST)
    epochs = {"best": int(best["epoch"]), "last": max(lines)}
    if config.trainer.select == "best":
        net.load_state_dict(best["net"])
    else:
        load_last(directory, net)
    return {
        name: {
            "checkpoint": name,
            "epoch": epoch,
            "val_acc": lines[epoch]["val/acc"],
            "val_loss": lines[epoch]["val/loss"],
        }
        for name, epoch in epochs.items()
    }
