"""Elastic weight consolidation with one penalty a task."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.continual.methods.fisher import fisher_diagonal
from tlcl.continual.methods.parameters import ParameterTensors, quadratic
from tlcl.continual.methods.steep_penalty import warn_where_steep
from tlcl.data.content_order import content_order
from tlcl.data.datamodule import Batch


@dataclass
class EWCConfig(MethodConfig):
    strength: Annotated[float, Ge(0)] = 10.0
    fisher_images: Annotated[int, Ge(1)] = 128


@register("method", "ewc", EWCConfig)
class EWC(Method):
    """EWC (Kirkpatrick et al. 2017, eq. 3): loss + strength/2 sum_t F_t (theta - theta_t)^2, over the tasks t done.

    The sum of the quadratics is kept as one, as the paper allows: F = sum_t F_t around theta* =
    sum_t F_t theta_t / F, from which it differs by a constant. So memory does not grow with the tasks, and the
    gradient is that of the separate penalties. `strength` is lambda; F_t is the mean over `fisher_images` of the
    task's images.
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.fisher, self.anchor = ParameterTensors(network), ParameterTensors(network)
        self._warned = False

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        penalty = quadratic(list(net.parameters()), self.fisher.tensors(), self.anchor.tensors())
        return loss + self.config.strength / 2 * penalty, logits

    def task_fisher(self, net: Network, data: TaskData) -> list[Tensor]:
        """`fisher_diagonal` on `fisher_images` of the task's images, drawn by what they are, not by their order."""
        assert isinstance(net, nn.Module)
        device = self.seen.device
        order = content_order(data.images[data.indices], self.setting.seed, "ewc/fisher")
        indices = data.indices[order[: self.config.fisher_images]]
        rivals = self.competing[data.labels[indices].to(device)]
        return fisher_diagonal(net, data.inputs[indices].to(device), rivals)

    def end_task(self, net: Network, data: TaskData) -> None:
        new = self.task_fisher(net, data)
        fishers, anchors = [], []
        for fisher, anchor, f, parameter in zip(
            self.fisher.tensors(), self.anchor.tensors(), new, net.parameters(), strict=True
        ):
            total = fisher + f
            mean = (fisher * anchor + f * parameter.detach()) / total
            anchors.append(torch.where(total > 0, mean, parameter.detach()))
            fishers.append(total)
        self.fisher.set(fishers)
        self.anchor.set(anchors)
        self.look()

    def look(self) -> None:
        """Warn once where the penalty is too steep, see `warn_where_steep`."""
        curvatures = [self.config.strength * fisher for fisher in self.fisher.tensors()]
        self._warned = self._warned or warn_where_steep(self.setting, curvatures)
