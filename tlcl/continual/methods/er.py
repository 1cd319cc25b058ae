"""Experience replay: each batch is joined by one from the past."""

from typing import Any

import torch
from torch import Tensor

from tlcl.config.continual import ReplayConfig
from tlcl.config.registry import register
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.data.datamodule import Batch
from tlcl.distributed.collectives import gathered


@register("method", "er", ReplayConfig)
class ER(Method):
    """ER (Chaudhry et al. 2019, "On tiny episodic memories"; Riemer et al. 2019).

    The loss is the mean cross-entropy over the batch and `replay_batch` examples of a reservoir together; every
    batch is offered to the reservoir after its step, in every epoch. Examples are stored as they are and
    augmented anew when they are replayed. Defaults: buffer 200, replay 32.
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.buffer = RehearsalBuffer(config.buffer_size, setting.input_shape, setting.input_dtype)

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is None:
            return super().loss(net, batch)
        logits = net(torch.cat([batch.images, self.augment(past.inputs)]))
        return self.classify(logits, torch.cat([batch.labels, past.labels])), logits[: len(batch.labels)]

    def after_step(self, net: Network, batch: Batch, logits: Tensor) -> None:
        assert batch.raw is not None
        self.buffer.add(gathered(batch.raw), gathered(batch.labels), self.random)
