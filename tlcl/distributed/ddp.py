"""Data-parallel training while blocks thaw: what is reduced is always what is trained."""

import signal
import threading
import warnings

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tlcl.distributed.collectives import average, first_difference
from tlcl.errors import TrainingError


class ThawingDDP(DDPStrategy):
    """DDP over the parameters that are trained now.

    DDP reduces the gradients of those parameters that required one when it was made: of a block that thaws later
    it would reduce nothing, silently, and of one that is frozen later it would wait for gradients that never come.
    (Told to look for unused parameters, it would search the graph in every step, and send zeros for all that is
    frozen.) So it is made anew whenever the set changes. Buffers are not broadcast in every step, as DDP does it:
    a rehearsal buffer is large, and what BatchNorm measures is averaged once an epoch, see `InStep`.
    """

    def __init__(self) -> None:
        super().__init__(broadcast_buffers=False)
        self._reduced: list[nn.Parameter] = []

    def configure_ddp(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")  # newer versions of torch rename it
            super().configure_ddp()
        self._reduced = self._trained()

    def wrap_what_trains(self) -> None:
        """Reduce the gradients of exactly the parameters that require one; nothing to do when they are the same."""
        trained = self._trained()
        if [id(one) for one in trained] == [id(one) for one in self._reduced]:
            return
        assert isinstance(self.model, DistributedDataParallel)
        self.model._remove_autograd_hooks()  # or the old one would go on reducing what it knows
        self.model = self.lightning_module
        self.configure_ddp()

    def _trained(self) -> list[nn.Parameter]:
        assert self.lightning_module is not None
        return [parameter for parameter in self.lightning_module.parameters() if parameter.requires_grad]


class InStep(L.Callback):
    """What keeps the processes together.

    After the last batch of each epoch: one set of BatchNorm statistics, and proof that the weights are the same.

    Each process normalises by the images of its own batch, and its running mean and variance are of its own share;
    their average over the processes is of all images.

    Raises:
        TrainingError: the processes hold different weights or different states of a method.
    """

    def __init__(self) -> None:
        self._at_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning's own handler talks to the other processes, wherever they are: if all get the signal, they hang.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._at_sigterm)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        if not trainer.is_last_batch:
            return
        average([value for module in pl_module.modules() for value in _statistics(module)])
        name = first_difference(pl_module)
        if name is not None:
            raise TrainingError(
                f"after epoch {trainer.current_epoch} the processes no longer hold the same {name}; a method of "
                "your own must keep only what is the same in all of them, see docs/distributed.md"
            )


def _statistics(module: nn.Module) -> list[torch.Tensor]:
    if not (isinstance(module, _BatchNorm) and module.training):
        return []
    return [value for value in (module.running_mean, module.running_var) if value is not None]
