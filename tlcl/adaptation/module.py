"""The LightningModule that trains a network on two domains with a method of domain adaptation."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from tlcl.adaptation.frozen_start import FromPlace
from tlcl.adaptation.losses import prediction_entropy
from tlcl.adaptation.methods.base import AdaptationMethod
from tlcl.adaptation.pairs import SOURCE, TARGET, Pair
from tlcl.config.schema import OptimConfig
from tlcl.data.datamodule import Batch
from tlcl.finetuning.module import ONCE_AN_EPOCH, FinetuningModule
from tlcl.finetuning.optimizer import build_optimizer, build_scheduler
from tlcl.models.blocks import Blocks


class AdaptationModule(FinetuningModule):
    """Fine-tuning whose loss a method makes of a source batch and a target batch.

    Measures, once an epoch, `train/loss`, `train/acc`, `train/NAME` for each part of the method's loss, `val/loss`
    and `val/acc` of the source, and `val/target_entropy`, the target's mean prediction entropy in 0..1 (1:
    uniform). The source is asked about with BatchNorm's averages of the source (`AdaptationMethod.as_source`): with
    the target's its accuracy would fall by the shift alone.

    Args:
        start: the place whose outputs the batches are, see `serve_frozen`; None: images.
        validated: which domain each validation loader is of, `SOURCE` or `TARGET`.
    """

    def __init__(
        self,
        net: Blocks,
        method: AdaptationMethod,
        num_classes: int,
        optim: OptimConfig,
        seed: int,
        log_every: int = 50,
        start: str | None = None,
        validated: Sequence[int] = (SOURCE, TARGET),
    ) -> None:
        super().__init__(net, num_classes, optim, seed, log_every)
        self.validated = tuple(validated)
        self.method, self.num_classes = method, num_classes
        self.start = self.val_start = start

    def progress(self) -> float:
        """Share of all training steps done, 0 <= progress < 1."""
        return self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:  # type: ignore[override]
        seen: Any = self.net if self.start is None else FromPlace(self.net, self.start)
        step = self.method.loss(seen, batch, self.progress())
        self.note_loss(step.loss, batch_idx)
        self.train_acc(step.logits.detach(), step.labels)
        terms = {"train/loss": step.loss, **{f"train/{name}": value for name, value in step.parts.items()}}
        self.log_dict(terms, batch_size=len(step.labels), **ONCE_AN_EPOCH)
        self.log("train/acc", self.train_acc, **ONCE_AN_EPOCH)
        return step.loss

    def on_train_start(self) -> None:
        super().on_train_start()
        self.method.begin(self.net)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        ours = self.validated[dataloader_idx] == SOURCE
        with self.method.as_source(self.net) if ours else nullcontext():
            logits = self(batch.images)
        once = {**ONCE_AN_EPOCH, "add_dataloader_idx": False}
        if ours:
            loss = nn.functional.cross_entropy(logits.float(), batch.labels)
            self.val_acc(logits, batch.labels)
            self.log("val/loss", loss, batch_size=len(batch.labels), **once)
            self.log("val/acc", self.val_acc, **once)
        else:
            entropy = prediction_entropy(logits.float().softmax(1)).mean() / math.log(self.num_classes)
            self.log("val/target_entropy", entropy, batch_size=len(logits), **once)

    def learning_rates(self) -> dict[str, float]:
        """The current rate of each block; what the method trains beside the network learns at the head's."""
        return {name: rate for name, rate in super().learning_rates().items() if name in self.net.names}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.net, self.optim)
        beside = list(self.method.parameters())
        if beside:
            optimizer.add_param_group({"name": "method", "params": beside, "lr": self.optim.lr})
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
        scheduler = build_scheduler(optimizer, self.optim, steps, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
