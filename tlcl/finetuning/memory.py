"""What a training step keeps in memory, counted, not measured: the same on every machine."""

from typing import Any

import torch
from torch import Tensor, nn

from tlcl.models.blocks import Blocks
from tlcl.models.inference import autocast

STATES = {"sgd": 1, "adamw": 2}  # numbers that the optimizer keeps of each that it trains


def step_bytes(net: Blocks, start: str | None, inputs: Tensor, optimizer: str, precision: str) -> int:
    """Bytes of a training step beyond the weights: what the backward pass needs, gradients, the optimizer's state.

    Args:
        net: what trains has requires_grad; its modes are those of training.
        start: the place whose outputs `inputs` (B, ...) are; None: images.
        optimizer: as `optim.name`.
        precision: as `trainer.precision`.
    """
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in net.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks: Any = torch.autograd.graph.saved_tensors_hooks
    with hooks(note, lambda tensor: tensor), autocast(inputs.device, precision):
        loss = nn.functional.cross_entropy(
            net(inputs, start=start), torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        )
    del loss
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    state = sum(parameter.nbytes for parameter in trained) * (1 + STATES[optimizer])
    return sum(kept.values()) + state
