"""The exponential moving average of the weights: what is validated, chosen, tested and saved in their place."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def update_average(average: dict[str, Tensor], weights: dict[str, Tensor], decay: float) -> None:
    """`average <- decay * average + (1 - decay) * weights`, in place, BatchNorm's mean and variance included.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging", with exponential weights. A
    frozen block is its own average, to the bit. Whole numbers, BatchNorm's counters, are taken as they are.

    Args:
        average, weights: state dicts with the same keys and shapes.
        decay: 0..1.
    """
    floats = [key for key, value in weights.items() if value.is_floating_point()]
    get_ema_multi_avg_fn(decay)([average[key] for key in floats], [weights[key] for key in floats], torch.tensor(0))
    for key in weights.keys() - set(floats):
        average[key].copy_(weights[key])


class WeightAverage(L.Callback):
    """Averages after every optimizer step, from the weights on that the training begins with.

    From each validation to the start of the next epoch the network holds the average, so that whatever chooses or
    saves weights then has those that were validated; this callback holds the trained ones meanwhile, and in the
    checkpoint. Listed first among the callbacks.

    Args:
        net: with its first weights, on whatever device.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay = net, decay
        self.other = {key: value.detach().clone() for key, value in net.state_dict().items()}
        self.swapped = False  # whether the network holds the average, and `other` the trained weights

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.other, "swapped": self.swapped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.other, self.swapped = dict(state_dict["weights"]), state_dict["swapped"]

    @torch.no_grad()
    def _swap(self) -> None:
        for key, value in self.net.state_dict().items():
            kept = value.clone()
            value.copy_(self.other[key])
            self.other[key] = kept
        self.swapped = not self.swapped

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.swapped:
            self._swap()
        for key, value in self.net.state_dict().items():  # made or loaded on the processor
            self.other[key] = self.other[key].to(value.device)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        update_average(self.other, self.net.state_dict(), self.decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.swapped:
            self._swap()
