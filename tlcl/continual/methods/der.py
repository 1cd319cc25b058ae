"""Dark experience replay: the past network's outputs are replayed."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from tlcl.config.continual import ReplayConfig
from tlcl.config.registry import register
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.continual.methods.steep_penalty import largest_step
from tlcl.continual.stream import Task
from tlcl.data.datamodule import Batch
from tlcl.distributed.collectives import gathered

log = logging.getLogger(__name__)
PUBLISHED_LR = 0.03  # at which the published alphas were found


def logit_distance(logits: Tensor, stored: Tensor) -> Tensor:
    """Mean over the batch of the squared Euclidean distance, summed over the outputs: (B, K), (B, K) -> scalar.

    This is the ||z - h(x)||^2 of Buzzega et al. 2020. Their released code averages over the K outputs as well, so
    its alpha is K times ours: 0.3 there is 0.03 here for ten classes.
    """
    return (logits.float() - stored).square().sum(1).mean()


@torch.no_grad()
def steepness(features: Tensor) -> float:
    """The largest eigenvalue of the features' second moment E[f f^T], from (n, D).

    Gradient descent on alpha * `logit_distance` by the last layer alone goes back and forth where lr * alpha times
    this passes 1: the Hessian of each output is 2 alpha E[f f^T].
    """
    return float(torch.linalg.matrix_norm(features.float(), 2)) ** 2 / len(features)


@dataclass
class DERConfig(ReplayConfig):
    alpha: Annotated[float | None, Ge(0)] = None


@register("method", "der", DERConfig)
class DER(Method):
    """DER (Buzzega et al. 2020, "Dark experience for general continual learning").

    Loss: cross-entropy on the batch + alpha * `logit_distance` between the present outputs for replayed images and
    those that the network gave when they were stored. Every batch is offered to a reservoir after its step, with
    its outputs before the step. Defaults: buffer 200, replay 32; alpha (null) is theirs for CIFAR-10, 0.3 of the
    mean over the outputs at a learning rate of 0.03, by the outputs here, and with SGD by the rate, which momentum
    m makes 1 / (1 - m) times as large: what steps move stays. A warning says where steps of SGD would make the
    replayed outputs swing, see `steepness`.
    """

    published: ClassVar[float] = 0.3

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.buffer = RehearsalBuffer(
            config.buffer_size, setting.input_shape, setting.input_dtype, num_logits=setting.num_outputs
        )
        scaled = self.published / setting.num_outputs
        if setting.sgd_lr is not None:
            scaled *= PUBLISHED_LR * (1 - setting.momentum) / setting.sgd_lr
        self.alpha = scaled if config.alpha is None else config.alpha
        self._looked = self._warned = False

    def begin_task(self, net: Network, task: Task) -> None:
        super().begin_task(net, task)
        self._looked = False  # features grow from task to task

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        past = self.buffer.sample(self.config.replay_batch, self.random)
        if past is not None:
            assert past.logits is not None
            replayed = self.augment(past.inputs)
            self._look(net, replayed)
            loss = loss + self.alpha * logit_distance(net(replayed), past.logits)
        return loss, logits

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "alpha": self.alpha}

    def _look(self, net: Network, inputs: Tensor) -> None:
        """Say whether the last layer's steps are too large: once a task, when BatchNorm's averages hold."""
        if self._looked or self._warned or self.setting.sgd_lr is None or not bool(self.old.any()):
            return
        self._looked = True
        modules = list(net.modules()) if isinstance(net, nn.Module) else []
        modes = [module.training for module in modules]
        for module in modules:
            module.training = False  # a look leaves BatchNorm's averages as they are
        with torch.no_grad():
            features = net.features(inputs).float()
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        if not bool(features.isfinite().all()):
            return  # the training diverges, which is said elsewhere
        classifier = getattr(net, "classifier", None)
        if getattr(classifier, "bias", None) is not None:  # it learns too, as if from a feature that is always 1
            features = torch.cat([features, features.new_ones(len(features), 1)], 1)
        largest = steepness(features)
        limit = largest_step(self.setting.momentum) / 2  # the loss has no half before its square
        if self.setting.sgd_lr * self.alpha * largest > limit:
            self._warned = True
            log.warning(
                "warning: optim.lr=%g times method.alpha=%.3g times the largest eigenvalue of the features' second "
                "moment, %.3g, is more than %.3g: replayed outputs will swing; lower one of the two",
                self.setting.sgd_lr, self.alpha, largest, limit,
            )  # fmt: skip

    def after_step(self, net: Network, batch: Batch, logits: Tensor) -> None:
        assert batch.raw is not None
        self.buffer.add(gathered(batch.raw), gathered(batch.labels), self.random, gathered(logits.float()))
