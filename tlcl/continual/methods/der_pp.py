"""Dark experience replay with labels."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor

from tlcl.config.registry import register
from tlcl.continual.methods.base import Network
from tlcl.continual.methods.der import DER, DERConfig
from tlcl.data.datamodule import Batch


@dataclass
class DERppConfig(DERConfig):
    beta: Annotated[float, Ge(0)] = 0.5


@register("method", "der_pp", DERppConfig)
class DERpp(DER):
    """DER++ (Buzzega et al. 2020): DER + beta * cross-entropy on a second replayed batch.

    Defaults: buffer 200, replay 32, alpha as DER's from theirs for CIFAR-10, 0.1 (0.2 with a buffer of 500), beta
    0.5.
    """

    published: ClassVar[float] = 0.1

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is not None:
            replayed = self.classify(net(self.augment(past.inputs)), past.labels)
            loss = loss + self.config.beta * replayed
        return loss, logits
