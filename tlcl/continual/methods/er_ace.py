"""Experience replay with an asymmetric cross-entropy."""

import torch
from torch import Tensor

from tlcl.config.continual import ReplayConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Network
from tlcl.continual.methods.er import ER
from tlcl.data.datamodule import Batch


@register("method", "er_ace", ReplayConfig)
class ERACE(ER):
    """ER-ACE (Caccia et al. 2022, "New insights on reducing abrupt representation change").

    The new images' softmax runs over the classes in their batch alone, so learning them does not push the old
    classes' outputs down; the replayed images' softmax runs over all classes seen. The two means are added.
    Defaults: buffer 200, replay 32.
    """

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        present = torch.zeros_like(self.seen)
        present[batch.labels] = True
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is None:
            logits = net(batch.images)
            return self.classify(logits, batch.labels, present), logits
        logits, replayed = net(torch.cat([batch.images, self.augment(past.inputs)])).split(
            [len(batch.labels), len(past.labels)]
        )
        new = self.classify(logits, batch.labels, present)
        return new + self.classify(replayed, past.labels, self.seen), logits
