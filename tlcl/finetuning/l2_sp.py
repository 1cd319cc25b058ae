"""L2-SP: a pull of the fine-tuned weights towards those that the training began with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tlcl.models.blocks import Blocks


def l2_sp(weights: Sequence[Tensor], start: Sequence[Tensor], strength: float) -> Tensor:
    """`strength / 2 * ||w - w0||^2` over all numbers of all weights: a scalar, at least 0.

    Li, Grandvalet & Davoine 2018, "Explicit inductive bias for transfer learning with convolutional networks",
    the first term of eq. 3; the second, the head's own decay, is `optim.weight_decay`.

    Args:
        weights: w, of any shapes.
        start: w0, of the same shapes.
    """
    squares = [(now - then).square().sum() for now, then in zip(weights, start, strict=True)]
    return strength / 2 * torch.stack(squares).sum() if squares else torch.zeros(())


class StartingPoint:
    """The weights of every block but the head as they are now, on which `penalty` is computed later.

    Made before a checkpoint is loaded, it is the same in a resumed run.
    """

    def __init__(self, net: Blocks) -> None:
        self.weights = {parameter: parameter.detach().clone() for parameter in backbone_parameters(net)}

    def penalty(self, strength: float) -> Tensor:
        """`l2_sp` of what trains now; what is frozen has no gradient."""
        trained = [parameter for parameter in self.weights if parameter.requires_grad]
        for parameter in trained:  # made on the processor, before the network was moved
            self.weights[parameter] = self.weights[parameter].to(parameter.device)
        return l2_sp(trained, [self.weights[parameter] for parameter in trained], strength)


def backbone_parameters(net: Blocks) -> list[torch.nn.Parameter]:
    """Of every block but the head."""
    return [parameter for name in net.names[:-1] for parameter in net.block(name).parameters()]
