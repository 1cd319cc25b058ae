"""A frozen copy of the network as it was before the task, and the loss that keeps the student near it."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlcl.continual.methods.base import Network


class Teacher(nn.Module):
    """A copy of the network that stays in eval mode and learns nothing; its weights are part of state_dict."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def learn_from(self, network: Network) -> None:
        """Take over the weights of `network`."""
        assert isinstance(network, nn.Module)
        self.network.load_state_dict(network.state_dict())

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits


def distillation(student: Tensor, teacher: Tensor, groups: Sequence[Tensor], temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the softened outputs (Hinton et al. 2015, "Distillation"), summed over groups.

    Zero when the student is the teacher. Its gradient is T^2 times that of Li & Hoiem's cross-entropy (2017), which
    differs from the divergence by the teacher's entropy; the factor keeps the size of the gradient for any T.

    Args:
        student, teacher: logits (B, K).
        groups: index tensors of the outputs that share a softmax.
        temperature: T > 0.

    Returns:
        Scalar, the mean over the batch.
    """
    total = torch.zeros((), device=student.device)
    for group in groups:
        ours = (student[:, group].float() / temperature).log_softmax(1)
        theirs = (teacher[:, group].float() / temperature).log_softmax(1)
        total = total + nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return total * temperature**2
