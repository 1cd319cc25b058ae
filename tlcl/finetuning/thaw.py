"""The callback that thaws blocks, and what frozen means."""

from collections.abc import Collection, Iterator

import lightning as L
from torch import nn

from tlcl.config.thaw import ThawSchedule
from tlcl.data.datamodule import IndexedDataModule
from tlcl.data.versions import crops_in
from tlcl.distributed.ddp import ThawingDDP
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.models.lora import base_weights


def set_trainable(net: Blocks, trainable: frozenset[str], only: str = "all") -> None:
    """Make exactly the blocks in `trainable` train, of those of the backbone the parameters that `only` names.

    Frozen is: requires_grad False, grad None (so that no optimizer touches the parameter, weight decay and
    momentum included) and eval mode of the block (so that BatchNorm keeps its statistics and dropout is off). With
    LoRA the weights beside its matrices are without gradient in a thawed block too.
    """
    never = base_weights(net)
    for name in net.names:
        thawed = name in trainable
        net.block(name).train(thawed)
        chosen = set(learning_parameters(net, name, only)) - never if thawed else set()
        for parameter in net.block(name).parameters():
            trains = parameter in chosen
            parameter.requires_grad_(trains)
            if not trains:
                parameter.grad = None


def learning_parameters(net: Blocks, name: str, only: str) -> Iterator[nn.Parameter]:
    """Those of a block that train when it is thawed, of those of the backbone the ones that `only` names."""
    return chosen_parameters(net.block(name), "all" if name == "head" else only)


def learning_blocks(net: Blocks, thawed: Collection[str], only: str) -> list[str]:
    """The thawed blocks in which something learns, in the network's order; one without parameters counts."""
    never = base_weights(net)
    return [
        name for name in net.names
        if name in thawed
        and (set(learning_parameters(net, name, only)) - never or not [*net.block(name).parameters()])
    ]  # fmt: skip


def chosen_parameters(block: nn.Module, only: str) -> Iterator[nn.Parameter]:
    """Those that train in a thawed block.

    The scales and shifts of normalisations (`norms`; Frankle et al. 2021, "Training BatchNorm and only BatchNorm"),
    all that are named `bias` (`biases`; Ben Zaken et al. 2022, "BitFit"), both, or `all`.
    """
    for module in block.modules():
        norm = only in ("norms", "norms_and_biases") and is_norm(module)
        for name, parameter in module.named_parameters(recurse=False):
            bias = only in ("biases", "norms_and_biases") and name == "bias"
            if only == "all" or bias or (norm and name in ("weight", "bias")):
                yield parameter


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises and holds a scale of its own: BatchNorm, LayerNorm, GroupNorm, RMSNorm, ...

    Libraries have classes of their own for them, which torch's are no base of: by their names. A scale has one
    number a channel; a module that only holds a normalisation has none.
    """
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._NormBase):
        return True
    own = [parameter for name, parameter in module.named_parameters(recurse=False) if name in ("weight", "bias")]
    return "norm" in type(module).__name__.lower() and bool(own) and all(one.ndim == 1 for one in own)


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
    uninterrupted one. With a patience it is what `ThawByEvents`, listed before, has told the module.
    The module keeps the set and re-applies it whenever anything calls `train()`.
    """

    def __init__(self, schedule: ThawSchedule) -> None:
        self.schedule = schedule

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        only, trainable = self.schedule.only, self.schedule.trainable(trainer.current_epoch)
        if self.schedule.patience is not None:
            trainable = pl_module.trainable_blocks  # type: ignore[assignment]
        net: Blocks = pl_module.net  # type: ignore[assignment]
        set_trainable(net, trainable, only)
        if trainable and not any(parameter.requires_grad for parameter in net.parameters()):
            named = ", ".join(name for name in net.names if name in trainable)
            raise UserError(f"thaw.only={only} leaves nothing to train in {named}; set thaw.only=all")
        pl_module.trainable_blocks = trainable  # type: ignore[assignment]
        pl_module.statistics_learn = only != "biases"  # type: ignore[assignment]
        pl_module.train()
        data = getattr(trainer, "datamodule", None)
        for domain in getattr(data, "domains", (data,)):
            if isinstance(domain, IndexedDataModule):
                domain.cropped = crops_in(domain.config, trainable)
        if isinstance(trainer.strategy, ThawingDDP):
            trainer.strategy.wrap_what_trains()
