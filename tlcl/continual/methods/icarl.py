"""iCaRL: exemplars, distillation, and the nearest mean of exemplars as the answer."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlcl.config.continual import BufferConfig
from tlcl.config.registry import register
from tlcl.continual.buffer import RehearsalBuffer
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.continual.methods.distillation import Teacher
from tlcl.continual.stream import Task
from tlcl.data.datamodule import Batch
from tlcl.errors import UserError

BATCH = 256


def herding(features: Tensor, count: int) -> Tensor:
    """The greedy choice of exemplars (Rebuffi et al. 2017, algorithm 4), best first: indices (count,).

    The k-th is the example that brings the mean of the first k chosen nearest to the mean of all.

    Args:
        features: (N, D).
        count: at most N.
    """
    mean, chosen_sum = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen: list[int] = []
    for k in range(1, count + 1):
        distance = (mean - (chosen_sum + features) / k).square().sum(1)
        best = int(distance.masked_fill(~free, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        chosen_sum = chosen_sum + features[best]
    return torch.tensor(chosen, device=features.device)


@register("method", "icarl", BufferConfig)
class ICaRL(Method):
    """iCaRL (Rebuffi et al. 2017).

    Training (algorithm 3): binary cross-entropy of each seen output, on the task's images and the exemplars in
    the proportion of their numbers; the targets of old outputs are the old network's sigmoids, those of new ones
    are the labels; summed over the outputs, mean over the images. Exemplars (algorithms 4, 5): `buffer_size`
    divided equally among the classes seen, chosen by herding on L2-normalised features, cut from the end of each
    list. Answer (algorithm 1): the nearest of the exemplars' normalised mean features under the present network.
    Default: 200 exemplars.

    Raises:
        UserError: fewer exemplars than classes.
    """

    needs_new_classes: ClassVar[bool] = True
    means: Tensor

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        if config.buffer_size < setting.num_outputs:
            raise UserError(
                f"method.buffer_size={config.buffer_size} must be at least {setting.num_outputs}, one image a class"
            )
        self.task_images = 1
        self.teacher = Teacher(network)
        self.exemplars = RehearsalBuffer(config.buffer_size, setting.input_shape, setting.input_dtype)
        self.register_buffer("means", torch.zeros(setting.num_outputs, setting.feature_size))

    def get_extra_state(self) -> dict[str, Any]:
        return {"task_images": self.task_images}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.task_images = int(state["task_images"])

    def begin_task(self, net: Network, task: Task) -> None:
        super().begin_task(net, task)
        self.teacher.learn_from(net)
        self.task_images = len(task.split.train)

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = batch.images, batch.labels
        if len(self.exemplars):
            share = max(1, round(len(labels) * len(self.exemplars) / self.task_images))
            past = self.exemplars.sample(share, self.random)
            assert past is not None
            images, labels = torch.cat([images, self.augment(past.inputs)]), torch.cat([labels, past.labels])
        logits = net(images)
        targets = nn.functional.one_hot(labels, len(self.seen)).float()
        targets = torch.where(self.old, self.teacher(images).float().sigmoid(), targets)
        each = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        return (each * self.seen).sum(1).mean(), logits[: len(batch.labels)]

    def normalised(self, net: Network, inputs: Tensor) -> Tensor:
        """L2-normalised features (N, D)."""
        device = self.means.device
        parts = [net.features(part.to(device)).float() for part in inputs.split(BATCH)]
        return nn.functional.normalize(torch.cat(parts), dim=1)

    def end_task(self, net: Network, data: TaskData) -> None:
        quota = self.config.buffer_size // int(self.seen.sum())
        inputs, labels = [], []
        kept_inputs, kept_labels = self.exemplars.inputs, self.exemplars.labels[: len(self.exemplars)]
        fresh = data.labels[data.indices]
        for label in self.seen.nonzero().squeeze(1).tolist():
            if self.old[label] and not bool((fresh == label).any()):
                chosen = kept_inputs[(kept_labels == label).nonzero().squeeze(1)[:quota]]
            else:
                pool = data.inputs[data.indices[fresh == label]]
                chosen = pool.to(self.means.device)[herding(self.normalised(net, pool), min(quota, len(pool)))]
            inputs.append(chosen)
            labels.append(torch.full((len(chosen),), label, device=self.means.device))
        self.exemplars.replace(torch.cat(inputs), torch.cat(labels))
        for label, examples in zip(self.seen.nonzero().squeeze(1).tolist(), inputs, strict=True):
            mean = self.normalised(net, examples).mean(0) if len(examples) else self.means[label]
            self.means[label] = nn.functional.normalize(mean, dim=0)

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        features = nn.functional.normalize(net.features(inputs).float(), dim=1)
        return -torch.cdist(features, self.means).square()
