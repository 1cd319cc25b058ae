"""A value for every parameter of a network, kept in state_dict: what the regularisation methods remember."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlcl.continual.methods.base import Network


class ParameterTensors(nn.Module):
    """One tensor of the shape of each parameter, zero at first, in the order of `network.parameters()`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        for name, parameter in network.named_parameters():
            self.register_buffer(name.replace(".", "/"), torch.zeros_like(parameter))

    def tensors(self) -> list[Tensor]:
        return list(self.buffers())

    def set(self, values: Sequence[Tensor]) -> None:
        for mine, value in zip(self.buffers(), values, strict=True):
            mine.copy_(value.detach())


def quadratic(parameters: Sequence[Tensor], weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """sum_k w_k (theta_k - a_k)^2 over the parameters that are trained."""
    total = torch.zeros((), device=weights[0].device)
    for parameter, weight, anchor in zip(parameters, weights, anchors, strict=True):
        if parameter.requires_grad:
            total = total + (weight * (parameter - anchor).square()).sum()
    return total
