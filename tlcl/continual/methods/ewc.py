"""Elastic weight consolidation, with one penalty a task or one running penalty."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.continual.methods.parameters import ParameterTensors, quadratic
from tlcl.data.datamodule import Batch

CHUNK = 16  # per-sample gradients held at once


def fisher_diagonal(net: nn.Module, inputs: Tensor, rivals: Tensor) -> list[Tensor]:
    """The diagonal of the Fisher information, exactly: F_k = mean_x sum_y p(y|x) (d log p(y|x) / d theta_k)^2.

    Each image's gradients are squared by themselves, before any mean (the square of a batch's mean gradient is
    smaller by up to the batch size), in the mode `net` is in, which should be eval. y runs over the network's own
    predictions, as in Martens 2014, section 5; taking the labels instead gives the "empirical" Fisher.

    Args:
        inputs: (N, ...), as `net` takes them.
        rivals: bool (N, K), the outputs that the softmax runs over.

    Returns:
        One tensor a parameter, in the order of `net.parameters()`; zero for parameters that are not trained.
    """
    names = [name for name, _ in net.named_parameters()]
    trained = {name: value.detach() for name, value in net.named_parameters() if value.requires_grad}
    rest = {name: value.detach() for name, value in net.named_parameters() if name not in trained}
    rest |= {name: value.detach() for name, value in net.named_buffers()}

    def log_p(parameters: dict[str, Tensor], example: Tensor, rival: Tensor, output: Tensor) -> Tensor:
        logits = functional_call(net, {**parameters, **rest}, (example[None],))[0]
        return logits.float().masked_fill(~rival, -torch.inf).log_softmax(0)[output]

    per_sample = vmap(grad(log_p), in_dims=(None, 0, 0, 0))
    total = {name: torch.zeros_like(value) for name, value in trained.items()}
    with torch.no_grad():
        for examples, rival in zip(inputs.split(CHUNK), rivals.split(CHUNK), strict=True):
            probabilities = net(examples).float().masked_fill(~rival, -torch.inf).softmax(1)
            for output in range(rivals.shape[1]):
                possible = rival[:, output]
                if not bool(possible.any()):
                    continue
                weight = probabilities[possible, output]
                outputs = torch.full((int(possible.sum()),), output, device=inputs.device)
                gradients = per_sample(trained, examples[possible], rival[possible], outputs)
                for name, gradient in gradients.items():
                    total[name] += torch.einsum("n,n...->...", weight, gradient.square())
    zero = dict(net.named_parameters())
    return [total[name] / len(inputs) if name in total else torch.zeros_like(zero[name]) for name in names]


class OnlineEWC(Method):
    """Online EWC (Schwarz et al. 2018, "Progress & Compress"): loss + strength/2 F (theta - theta*)^2.

    After a task F becomes gamma F + F_task and theta* the present weights. `strength` is lambda, `fisher_images`
    the images of the task that F_task is the mean over. Defaults: lambda 100, gamma 1.
    """

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        self.fisher, self.anchor = ParameterTensors(network), ParameterTensors(network)

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(net, batch)
        penalty = quadratic(list(net.parameters()), self.fisher.tensors(), self.anchor.tensors())
        return loss + self.config.strength / 2 * penalty, logits

    def task_fisher(self, net: Network, data: TaskData) -> list[Tensor]:
        """`fisher_diagonal` on `fisher_images` of the task's images, drawn without replacement."""
        assert isinstance(net, nn.Module)
        device = self.seen.device
        chosen = torch.randperm(len(data.indices), generator=self.random)[: self.config.fisher_images]
        indices = data.indices[chosen.sort().values]
        rivals = self.competing[data.labels[indices].to(device)]
        return fisher_diagonal(net, data.inputs[indices].to(device), rivals)

    def end_task(self, net: Network, data: TaskData) -> None:
        new = self.task_fisher(net, data)
        self.fisher.set([self.config.gamma * f + g for f, g in zip(self.fisher.tensors(), new, strict=True)])
        self.anchor.set(list(net.parameters()))


class EWC(OnlineEWC):
    """EWC (Kirkpatrick et al. 2017, eq. 3): loss + strength/2 sum_t F_t (theta - theta_t)^2, over the tasks t done.

    The sum of the quadratics is kept as one, as the paper allows: F = sum_t F_t around theta* =
    sum_t F_t theta_t / F, from which it differs by a constant. So memory does not grow with the tasks, and the
    gradient is that of the separate penalties. Default: lambda 100.
    """

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
