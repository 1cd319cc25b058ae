"""Early stopping: the training ends when the validation figure has not improved for some epochs."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from tlcl.config.schema import Config

# trainer.monitor -> what is measured, and which way is better
MONITORS = {
    "loss": ("val/loss", "min"),
    "accuracy": ("val/acc", "max"),
    "balanced_accuracy": ("val/balanced_acc", "max"),
    "macro_f1": ("val/macro_f1", "max"),
}


class EarlyStop(EarlyStopping):
    """Lightning's, which counts from the last milestone on: what thaws has its `trainer.patience` epochs.

    Prechelt 1998, "Early stopping - but when?", criterion UP with strips of one epoch.
    """

    def __init__(self, config: Config) -> None:
        assert config.trainer.patience is not None
        name, mode = MONITORS[config.trainer.monitor]
        super().__init__(name, patience=config.trainer.patience, mode=mode, check_on_train_epoch_end=False)
        self.last_thaw = max(config.schedule.milestones)
        schedule = config.schedule
        # With thaw.patience the epoch is not known; what trains in the end is.
        self.deepest = None if schedule.patience is None else schedule.at(schedule.deepest)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # A run that is given more epochs may be given more patience too.
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Killed after its last epoch and resumed, a run does not train one more.
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        thawed = self.deepest is None or pl_module.trainable_blocks == self.deepest
        if trainer.current_epoch >= self.last_thaw and thawed:
            super().on_validation_end(trainer, pl_module)
