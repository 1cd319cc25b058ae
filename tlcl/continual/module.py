"""The LightningModule of one task: a training step with a method's hooks around it."""

from typing import Any

import torch
from torch import Tensor

from tlcl.config.schema import OptimConfig
from tlcl.continual.methods.base import Method, Network
from tlcl.data.datamodule import Batch
from tlcl.finetuning.module import ONCE_AN_EPOCH, FinetuningModule
from tlcl.models.blocks import Blocks
from tlcl.seeding import derive_seed


class ContinualModule(FinetuningModule):
    """Trains `net` on one task by `method`; freezing, optimizer and checks are those of fine-tuning.

    Args:
        network: what the method sees: `net` itself, or its last layer when the inputs are features.
        task: place in the stream.
        history: what the loop must find again when it is resumed within this task; saved with every checkpoint.
    """

    def __init__(
        self,
        net: Blocks,
        network: Network,
        method: Method,
        task: int,
        history: dict[str, Any],
        optim: OptimConfig,
        seed: int,
        log_every: int,
    ) -> None:
        super().__init__(net, len(method.seen), optim, seed, log_every)
        self.automatic_optimization = False  # the order of a step is the method's to know
        self.method, self.task, self.history = method, task, history
        options = [name for name in ("strength", "alpha", "beta") if hasattr(method.config, name)]
        self.hint = "".join(f", or a lower method.{name}" for name in options)
        self._network = [network]  # in a list: its weights are those of `net`, and are saved once

    def place(self) -> str:
        return f"task {self.task + 1}, {super().place()}"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["continual"] = {"task": self.task, **self.history}

    def on_train_epoch_start(self) -> None:
        place = {"task": self.task, "epoch": self.current_epoch}
        # The same in all processes: what a buffer keeps is drawn by all of them alike.
        self.method.random.manual_seed(derive_seed(self.seed, "method", **place))
        self.method.augment = self.trainer.datamodule.augment  # type: ignore[attr-defined]
        self.bad_batch.fill_(-1)

    def global_seed(self) -> int:
        place = {"task": self.task, "epoch": self.current_epoch}
        return derive_seed(self.seed, "global", **place, rank=self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        network, method = self._network[0], self.method
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        method.begin_batch(network, batch)
        loss, logits = method.loss(network, batch)
        self.note_loss(loss, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        method.on_gradients(network)
        optimizer.step()
        scheduler.step()
        logits = logits.detach()
        method.after_step(network, batch, logits)
        self.train_acc(logits.masked_fill(~method.competing[batch.labels], -torch.inf), batch.labels)
        self.log("train/loss", loss, batch_size=len(batch.labels), sync_dist=True, **ONCE_AN_EPOCH)
        self.log("train/acc", self.train_acc, **ONCE_AN_EPOCH)
        return loss.detach()
