"""Learning without forgetting: the new task's images, seen through the old network."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt
from torch import Tensor

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.continual.methods.distillation import Teacher, distillation
from tlcl.continual.stream import Task
from tlcl.data.datamodule import Batch


@dataclass
class LwFConfig(MethodConfig):
    strength: Annotated[float, Ge(0)] = 1.0
    temperature: Annotated[float, Gt(0)] = 2.0


@register("method", "lwf", LwFConfig)
class LwF(Method):
    """LwF (Li & Hoiem 2017): cross-entropy + strength * distillation of the old outputs on the new images.

    One softmax over all old outputs; in the task-incremental scenario one for each old task, as with the paper's
    separate heads. Defaults: strength 1, temperature 2. The distillation here has Hinton's factor T^2, so that the
    paper's lambda_o of 1 is a strength of 1 / T^2 = 0.25, and 1 here is 4 there. The paper's warm-up, in which the
    new outputs are trained alone at first, is left out.
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.teacher = Teacher(network)

    def begin_task(self, net: Network, task: Task) -> None:
        super().begin_task(net, task)
        self.teacher.learn_from(net)

    def old_groups(self) -> list[Tensor]:
        """The old outputs by the softmax they share."""
        rows = (self.competing & self.old)[self.old].unique(dim=0)
        return [row.nonzero().squeeze(1) for row in rows]

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        groups = self.old_groups()
        if groups:
            kept = distillation(logits, self.teacher(batch.images), groups, self.config.temperature)
            loss = loss + self.config.strength * kept
        return loss, logits
