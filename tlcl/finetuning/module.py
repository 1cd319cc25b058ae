"""The LightningModule that fine-tunes a network of blocks."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from tlcl.config.schema import OptimConfig
from tlcl.data.augment import mixup_pairs
from tlcl.data.datamodule import Batch
from tlcl.distributed.collectives import gathered
from tlcl.errors import TrainingError
from tlcl.finetuning.class_weights import BalancedAccuracy, MacroF1, cross_entropy
from tlcl.finetuning.l2_sp import StartingPoint
from tlcl.finetuning.optimizer import build_optimizer, build_scheduler, without_empty_blocks
from tlcl.finetuning.thaw import modes_for
from tlcl.models.blocks import Blocks
from tlcl.seeding import derive_seed, generator, seed_epoch

# Loggers get the whole epoch in one row from `EpochRecords`.
ONCE_AN_EPOCH: dict[str, Any] = {"on_step": False, "on_epoch": True, "logger": False}


class FinetuningModule(L.LightningModule):
    """Cross-entropy classification with freezable blocks.

    Measures `train/loss`, `train/acc`, `val/loss`, `val/acc`, `val/balanced_acc` and `val/macro_f1` (in 0..1) once
    an epoch.

    Args:
        class_weights: float (num_classes,), in the validation loss, and with optim.class_weights=balanced in the
            training loss; see `cross_entropy`. Balanced batches need none in training.
        net: with the weights that the training begins with, which optim.l2_sp pulls towards.

    Raises:
        TrainingError: a training loss that is not finite; names epoch, batch, learning rates and thawed blocks.
    """

    bad_batch: Tensor
    start: str | None = None  # the place whose outputs the training batches are; None: images
    val_start: str | None = None  # the same of the validation batches
    hint = ""  # one more remedy for a loss that is not finite

    def __init__(
        self,
        net: Blocks,
        num_classes: int,
        optim: OptimConfig,
        seed: int,
        log_every: int = 50,
        mixup: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.mixup, self._mixing = mixup, generator(seed, "mixup")
        self.net, self.optim, self.seed, self.log_every = net, optim, seed, log_every
        self._start = StartingPoint(net) if optim.l2_sp else None
        self.trainable_blocks: frozenset[str] = frozenset(net.names)
        self.statistics_learn = True  # not where BatchNorm's own scales are frozen, see thaw.only
        self.train_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_balanced_acc, self.val_macro_f1 = BalancedAccuracy(num_classes), MacroF1(num_classes)
        # Not Lightning's own mean, which rounds the number of images that a process has on average.
        self.val_loss = MeanMetric()
        # The first batch of the epoch whose loss was not finite, kept on the device: reading it every step
        # would make a GPU wait.
        self.register_buffer("bad_batch", torch.tensor(-1), persistent=False)
        self._rates: dict[int, dict[str, float]] = {}  # of the batches whose losses were not read yet

    def train(self, mode: bool = True) -> "FinetuningModule":
        """As usual, but a frozen block stays in eval whoever calls this."""
        super().train(mode)
        statistics = self.optim.batch_norm == "train" and self.statistics_learn
        modes_for(self.net, self.trainable_blocks, mode, statistics=statistics)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Images, or the outputs of `start` -> logits (B, classes)."""
        logits: Tensor = self.net(inputs, start=self.start)
        return logits

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        without_empty_blocks(checkpoint, self.net.names)

    def on_train_start(self) -> None:
        # Resumed by another number of processes, an epoch has another number of steps.
        done = self.current_epoch * int(self.trainer.num_training_batches)
        scheduler: Any = self.lr_schedulers()
        if scheduler.last_epoch != done:
            scheduler.last_epoch = done
            for group, rate, factor in zip(
                scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
            ):
                group["lr"] = rate * factor(done)

    def on_train_epoch_start(self) -> None:
        self._mixing = generator(self.seed, "mixup", epoch=self.current_epoch, rank=self.global_rank)
        self.bad_batch.fill_(-1)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._rates[batch_idx] = self.learning_rates()
        # Dropout is the only thing left that draws from the global generator.
        if batch_idx == 0:
            seed_epoch(self.global_seed(), self.current_epoch)

    def global_seed(self) -> int:
        return derive_seed(self.seed, "global", epoch=self.current_epoch, rank=self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, loss = self.answer(batch)
        if self._start is not None:
            loss = loss + self._start.penalty(self.optim.l2_sp)
        self.note_loss(loss, batch_idx)
        self.train_acc(logits.detach(), batch.labels)
        self.log("train/loss", loss, batch_size=len(batch.labels), sync_dist=True, **ONCE_AN_EPOCH)
        self.log("train/acc", self.train_acc, **ONCE_AN_EPOCH)
        return loss

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and training loss, by `data.mixup` and `optim`'s smoothing and class weights.

        What is mixed is what the batch holds: images, or outputs of frozen blocks ("manifold mixup", Verma et al.
        2019). The loss is mixed as in Zhang et al. 2018, which for cross-entropy is mixing the labels.
        """

        weights = self.class_weights if self.optim.class_weights == "balanced" else None

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(logits, labels, weights, self.optim.label_smoothing)

        if self.mixup == 0:
            logits = self(batch.images)
            return logits, loss(logits, batch.labels)
        others, share = mixup_pairs(len(batch.labels), self.mixup, self._mixing)
        others = others.to(batch.labels.device)
        inputs = batch.images.float()
        logits = self(share * inputs + (1 - share) * inputs[others])
        return logits, share * loss(logits, batch.labels) + (1 - share) * loss(logits, batch.labels[others])

    def note_loss(self, loss: Tensor, batch_idx: int) -> None:
        """Remember the first loss that is not finite; every `log_every` batches, stop because of it."""
        first_bad = (self.bad_batch < 0) & ~loss.detach().isfinite()
        self.bad_batch.copy_(torch.where(first_bad, batch_idx, self.bad_batch))
        if (batch_idx + 1) % self.log_every == 0:
            self._stop_if_not_finite()

    def on_train_epoch_end(self) -> None:
        self._stop_if_not_finite()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        logits = self.net(batch.images, start=self.val_start)
        loss = cross_entropy(logits, batch.labels, self.class_weights)
        self.val_acc(logits, batch.labels)
        self.val_balanced_acc.update(logits, batch.labels)
        self.val_macro_f1.update(logits, batch.labels)
        self.val_loss.update(loss, len(batch.labels))
        self.log("val/loss", self.val_loss, **ONCE_AN_EPOCH)
        self.log("val/acc", self.val_acc, **ONCE_AN_EPOCH)
        self.log("val/balanced_acc", self.val_balanced_acc, **ONCE_AN_EPOCH)
        self.log("val/macro_f1", self.val_macro_f1, **ONCE_AN_EPOCH)
        return logits

    def on_validation_epoch_start(self) -> None:
        if not self.trainer.sanity_checking:
            self._stop_if_not_finite()

    def learning_rates(self) -> dict[str, float]:
        """The current rate of each block."""
        optimizer: Any = self.trainer.optimizers[0]
        return {group["name"]: group["lr"] for group in optimizer.param_groups}

    def place(self) -> str:
        """Where the training stands, in words."""
        return f"epoch {self.current_epoch}"

    def _stop_if_not_finite(self) -> None:
        batch = int(gathered(self.bad_batch[None]).max())  # all stop, or none
        if batch >= 0:
            known = self._rates.get(batch, self.learning_rates())
            rates = ", ".join(f"{name} {rate:.3g}" for name, rate in known.items())
            thawed = ", ".join(name for name in self.net.names if name in self.trainable_blocks)
            raise TrainingError(
                f"the training loss is not finite in {self.place()}, batch {batch}; learning rates: {rates}; "
                f"thawed: {thawed}; try a lower optim.lr, a longer optim.warmup_epochs or "
                f"trainer.precision=32-true{self.hint}"
            )
        self._rates.clear()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.net, self.optim)
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        # Per step: a per-epoch scheduler would be stepped after the checkpoint of its epoch is written.
        scheduler = build_scheduler(optimizer, self.optim, steps, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
