"""Thawing by events: the next block thaws when the validation figure has not improved for some epochs."""

import logging
from typing import Any

import lightning as L
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.finetuning.early_stop import MONITORS
from tlcl.models.blocks import Blocks

log = logging.getLogger(__name__)


class ThawByEvents(L.Callback):
    """At the start of an epoch, thaw the next block if `thaw.patience` epochs have not improved `trainer.monitor`.

    The weights of the best epoch are taken back first, and the optimizer's momentum, which led away from them, is
    forgotten. What it goes by is in the checkpoint, and the thaw itself is in no epoch's end but in the next one's
    beginning: a run resumed at any epoch is the uninterrupted one. Listed before what asks the module which blocks
    train.

    Attributes:
        depth: backbone blocks that train.
        best: the best figure so far; lower is better.
        weights: of the blocks that train, at `epoch`, the best; empty once nothing more may thaw.
    """

    def __init__(self, config: Config) -> None:
        self.schedule = config.schedule
        name, mode = MONITORS[config.trainer.monitor]
        self.monitor, self._sign = name, 1.0 if mode == "min" else -1.0
        self.depth = self.schedule.shallowest
        self.best: float | None = None
        self.waited, self.epoch = 0, 0
        self.weights: dict[str, dict[str, Tensor]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "depth": self.depth, "best": self.best, "waited": self.waited, "epoch": self.epoch,
            "weights": self.weights,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.depth, self.best = state_dict["depth"], state_dict["best"]
        self.waited, self.epoch = state_dict["waited"], state_dict["epoch"]
        self.weights = state_dict["weights"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.schedule.patience is not None
        if self.waited >= self.schedule.patience and self.depth < self.schedule.deepest:
            self._thaw(trainer, pl_module.net)  # type: ignore[arg-type]
        pl_module.trainable_blocks = self.schedule.at(self.depth)  # type: ignore[assignment]

    def _thaw(self, trainer: L.Trainer, net: Blocks) -> None:
        for name, state in self.weights.items():
            net.block(name).load_state_dict(state)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        self.depth, self.waited = self.depth + 1, 0
        name = net.names[-1 - self.depth]
        self.weights[name] = copied(net, name)  # as it is at the best epoch, unless it makes a better one
        log.info(
            "%s has not improved for %d epochs: from the weights of epoch %d on, %s trains too",
            self.monitor, self.schedule.patience, self.epoch, name,
        )  # fmt: skip

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.depth >= self.schedule.deepest:
            self.weights = {}
            return
        figure = self._sign * float(trainer.callback_metrics[self.monitor])
        if self.best is not None and not figure < self.best:
            self.waited += 1
            return
        self.best, self.waited, self.epoch = figure, 0, trainer.current_epoch
        net: Blocks = pl_module.net  # type: ignore[assignment]
        self.weights = {name: copied(net, name) for name in net.names if name in self.schedule.at(self.depth)}


def copied(net: Blocks, name: str) -> dict[str, Tensor]:
    """The weights of a block, which go on changing, as they are now."""
    return {key: value.detach().clone() for key, value in net.block(name).state_dict().items()}
