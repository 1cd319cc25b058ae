"""Elastic weight consolidation with one running penalty."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from tlcl.config.registry import register
from tlcl.continual.methods.base import Network, TaskData
from tlcl.continual.methods.ewc import EWC, EWCConfig


@dataclass
class OnlineEWCConfig(EWCConfig):
    gamma: Annotated[float, Ge(0)] = 1.0


@register("method", "online_ewc", OnlineEWCConfig)
class OnlineEWC(EWC):
    """Online EWC (Schwarz et al. 2018, "Progress & Compress"): loss + strength/2 F (theta - theta*)^2.

    After a task F becomes gamma F + F_task and theta* the present weights.
    """

    def end_task(self, net: Network, data: TaskData) -> None:
        new = self.task_fisher(net, data)
        self.fisher.set([self.config.gamma * f + g for f, g in zip(self.fisher.tensors(), new, strict=True)])
        self.anchor.set(list(net.parameters()))
        self.look()
