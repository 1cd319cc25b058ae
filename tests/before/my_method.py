"""method=l2: the weights are held at those after the task before, all with the same strength."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlcl.config_continual import MethodConfig
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.continual.methods.parameters import ParameterTensors, quadratic
from tlcl.data.datamodule import Batch
from tlcl.extend import register_method


@dataclass
class L2Config(MethodConfig):
    strength: float = 0.01  # lambda


class L2(Method):
    """Loss + strength/2 |theta - theta*|^2, the baseline of Kirkpatrick et al. 2017 ("EWC"), figure 2."""

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.anchor, self.held = ParameterTensors(network), ParameterTensors(network)  # saved with the checkpoint

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        penalty = quadratic(list(net.parameters()), self.held.tensors(), self.anchor.tensors())
        return loss + self.config.strength / 2 * penalty, logits

    def end_task(self, net: Network, data: TaskData) -> None:
        self.anchor.set(list(net.parameters()))
        self.held.set([torch.ones_like(parameter) for parameter in net.parameters()])


register_method("l2", L2Config, L2)
