"""Dark experience replay: the past network's outputs are replayed."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from tlcl.config.continual import ReplayConfig
from tlcl.config.registry import register
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.data.datamodule import Batch
from tlcl.distributed.collectives import gathered


def logit_distance(logits: Tensor, stored: Tensor) -> Tensor:
    """Mean over the batch of the squared Euclidean distance, summed over the outputs: (B, K), (B, K) -> scalar.

    This is the ||z - h(x)||^2 of Buzzega et al. 2020. Their released code averages over the K outputs as well, so
    its alpha is K times ours: 0.3 there is 0.03 here for ten classes.
    """
    return (logits.float() - stored).square().sum(1).mean()


@dataclass
class DERConfig(ReplayConfig):
    alpha: Annotated[float, Ge(0)] = 0.03


@register("method", "der", DERConfig)
class DER(Method):
    """DER (Buzzega et al. 2020, "Dark experience for general continual learning").

    Loss: cross-entropy on the batch + alpha * `logit_distance` between the present outputs for replayed images and
    those that the network gave when they were stored. Every batch is offered to a reservoir after its step, with
    its outputs before the step. Defaults: buffer 200, replay 32, alpha 0.03 (theirs for CIFAR-10: 0.3).
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.buffer = RehearsalBuffer(
            config.buffer_size, setting.input_shape, setting.input_dtype, num_logits=setting.num_outputs
        )

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is not None:
            assert past.logits is not None
            loss = loss + self.config.alpha * logit_distance(net(self.augment(past.inputs)), past.logits)
        return loss, logits

    def after_step(self, net: Network, batch: Batch, logits: Tensor) -> None:
        assert batch.raw is not None
        self.buffer.add(gathered(batch.raw), gathered(batch.labels), self.random, gathered(logits.float()))
