"""Averaged gradient episodic memory: steps that would raise the loss on the memory are turned aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlcl.config.continual import ReplayConfig
from tlcl.config.registry import register
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.distributed.collectives import average


def projection_factor(gradients: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """c such that g - c g_ref has a dot product >= 0 with g_ref: (g . g_ref) / (g_ref . g_ref) if negative, else 0.

    Chaudhry et al. 2019, "Efficient lifelong learning with A-GEM", eq. 11. A scalar tensor, so that nothing waits.
    """
    dot = torch.stack([(g * r).sum() for g, r in zip(gradients, reference, strict=True)]).sum()
    norm = torch.stack([r.square().sum() for r in reference]).sum()
    return torch.where((dot < 0) & (norm > 0), dot / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)


@dataclass
class AGEMConfig(ReplayConfig):
    replay_batch: int = 64


@register("method", "agem", AGEMConfig)
class AGEM(Method):
    """A-GEM: the gradient is projected onto the half-space where the loss on the memory does not grow.

    The memory is a uniform sample of all images of all tasks before this one, each offered once at its task's end;
    the reference gradient is that of `replay_batch` of them. Defaults: memory 200, reference batch 64.
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.buffer = RehearsalBuffer(config.buffer_size, setting.input_shape, setting.input_dtype)

    def on_gradients(self, net: Network) -> None:
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is None:
            return
        trained = [parameter for parameter in net.parameters() if parameter.grad is not None]
        loss = self.classify(net(self.augment(past.inputs)), past.labels)
        reference = torch.autograd.grad(loss, trained)
        average(reference)  # the gradients are the mean over the processes already
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        factor = projection_factor(gradients, reference)
        for gradient, direction in zip(gradients, reference, strict=True):
            gradient.sub_(factor * direction)

    def end_task(self, net: Network, data: TaskData) -> None:
        for inputs, labels in data.batches(256, self.seen.device):
            self.buffer.add(inputs, labels, self.random)
