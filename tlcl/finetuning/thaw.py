"""The callback that thaws blocks, and what frozen means."""

import lightning as L
from torch import nn

from tlcl.config.thaw import ThawSchedule
from tlcl.data.datamodule import IndexedDataModule
from tlcl.data.versions import crops_in
from tlcl.distributed.ddp import ThawingDDP
from tlcl.models.blocks import Blocks
from tlcl.models.lora import base_weights


def set_trainable(net: Blocks, trainable: frozenset[str]) -> None:
    """Make exactly the blocks in `trainable` train.

    Frozen is: requires_grad False, grad None (so that no optimizer touches the parameter, weight decay and
    momentum included) and eval mode (so that BatchNorm keeps its statistics and dropout is off). With LoRA the
    weights beside its matrices are without gradient in a thawed block too.
    """
    never = base_weights(net)
    for name in net.names:
        thawed = name in trainable
        net.block(name).train(thawed)
        for parameter in net.block(name).parameters():
            trains = thawed and parameter not in never
            parameter.requires_grad_(trains)
            if not trains:
                parameter.grad = None


def modes_for(net: Blocks, trainable: frozenset[str], training: bool, *, statistics: bool = True) -> None:
    """Put `net` in train or eval mode with its frozen blocks always in eval.

    Args:
        statistics: whether the BatchNorm of thawed blocks takes those of the batch and updates the running ones;
            without, its scale and shift learn on the statistics of the pretraining. Few images tell less of them.
    """
    nn.Module.train(net, training)
    for name in net.names:
        net.block(name).train(training and name in trainable)
    if not statistics:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


class Thaw(L.Callback):
    """At the start of each epoch, train what the schedule says for that epoch; holds no state of its own.

    Because the set is a function of the epoch, a run resumed beyond a milestone has exactly the blocks of an
    uninterrupted one. The module keeps the set and re-applies it whenever anything calls `train()`.
    """

    def __init__(self, schedule: ThawSchedule) -> None:
        self.schedule = schedule

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainable = self.schedule.trainable(trainer.current_epoch)
        pl_module.trainable_blocks = trainable  # type: ignore[assignment]
        set_trainable(pl_module.net, trainable)  # type: ignore[arg-type]
        pl_module.train()
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, IndexedDataModule):
            data.cropped = crops_in(data.config, trainable)
        if isinstance(trainer.strategy, ThawingDDP):
            trainer.strategy.wrap_what_trains()
