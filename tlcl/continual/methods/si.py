"""Synaptic intelligence: importance gathered along the path of the training."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt
from torch import Tensor

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.continual.methods.parameters import ParameterTensors
from tlcl.continual.methods.steep_penalty import warn_where_steep
from tlcl.continual.stream import Task


@dataclass
class SIConfig(MethodConfig):
    strength: Annotated[float, Ge(0)] = 0.1
    damping: Annotated[float, Gt(0)] = 0.1


@register("method", "si", SIConfig)
class SI(Method):
    """SI (Zenke, Poole & Ganguli 2017): loss + strength sum_k Omega_k (theta_k - theta*_k)^2.

    Along the training omega_k = -sum_steps g_k (theta_k after - theta_k before), where g is the gradient of the
    task's loss without the penalty; at a task's end Omega_k += max(0, omega_k) / ((theta_k - theta*_k)^2 + damping)
    (the released code clips the sum Omega_k at zero instead). The penalty's gradient is added by hand, so that g
    needs no second backward pass. `strength` is c, `damping` is xi; both default to 0.1 (permuted MNIST there).
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.path, self.importance = ParameterTensors(network), ParameterTensors(network)
        self.anchor = ParameterTensors(network)
        self._before: list[tuple[int, Tensor, Tensor]] = []
        self._warned = False

    def begin_task(self, net: Network, task: Task) -> None:
        super().begin_task(net, task)
        self.anchor.set(list(net.parameters()))

    def on_gradients(self, net: Network) -> None:
        self._before = []
        importance, anchor = self.importance.tensors(), self.anchor.tensors()
        for index, parameter in enumerate(net.parameters()):
            if parameter.grad is not None:
                self._before.append((index, parameter.grad.clone(), parameter.detach().clone()))
                pull = importance[index] * (parameter.detach() - anchor[index])
                parameter.grad.add_(pull, alpha=2 * self.config.strength)

    def after_step(self, net: Network, batch: Any, logits: Tensor) -> None:
        path, parameters = self.path.tensors(), list(net.parameters())
        for index, gradient, before in self._before:
            path[index].sub_(gradient * (parameters[index].detach() - before))

    def end_task(self, net: Network, data: TaskData) -> None:
        for importance, path, anchor, parameter in zip(
            self.importance.tensors(), self.path.tensors(), self.anchor.tensors(), net.parameters(), strict=True
        ):
            moved = (parameter.detach() - anchor).square()
            importance.add_(path.clamp_min(0) / (moved + self.config.damping))
            path.zero_()
        self.anchor.set([parameter.detach() for parameter in net.parameters()])
        self._before = []
        curvatures = [2 * self.config.strength * importance for importance in self.importance.tensors()]
        self._warned = self._warned or warn_where_steep(self.setting, curvatures)
