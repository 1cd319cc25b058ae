"""The rehearsal buffer: a bounded, uniform sample of a stream."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tlcl.distributed.collectives import rank


class Stored(NamedTuple):
    """What a buffer gives back; `logits` (n, K) only where they were stored."""

    inputs: Tensor
    labels: Tensor
    logits: Tensor | None


def reservoir_slots(offered: int, count: int, capacity: int, random: torch.Generator) -> dict[int, int]:
    """Which of `count` newcomers go where: slot -> place among the newcomers (Vitter 1985, algorithm R).

    The n-th example ever offered (from 0) takes slot n while there is room; later it draws a place in 0..n and
    takes that slot if it is one. So after any n every example offered has the same chance capacity/n to be in.

    Args:
        offered: how many examples were offered before these.
    """
    draws = torch.rand(count, generator=random, dtype=torch.float64).tolist()
    slots: dict[int, int] = {}
    for place, draw in enumerate(draws):
        number = offered + place
        slot = number if number < capacity else int(draw * (number + 1))
        if slot < capacity:
            slots[slot] = place  # a later newcomer replaces an earlier one
    return slots


class RehearsalBuffer(nn.Module):
    """`capacity` examples in registered buffers, on the network's device.

    Args:
        input_shape, input_dtype: of one example as it is stored: a uint8 image or a feature vector.
        num_logits: K when the network's outputs are stored beside each example, else 0.
    """

    inputs: Tensor
    labels: Tensor
    logits: Tensor

    def __init__(
        self, capacity: int, input_shape: tuple[int, ...], input_dtype: torch.dtype, num_logits: int = 0
    ) -> None:
        super().__init__()
        self.capacity, self.offered = capacity, 0
        self.register_buffer("inputs", torch.zeros((capacity, *input_shape), dtype=input_dtype))
        self.register_buffer("labels", torch.zeros(capacity, dtype=torch.int64))
        self.register_buffer("logits", torch.zeros(capacity, num_logits))

    def get_extra_state(self) -> dict[str, Any]:
        # A plain number beside the tensors: on a GPU, reading a tensor every step would make it wait.
        return {"offered": self.offered}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.offered = int(state["offered"])

    def __len__(self) -> int:
        return min(self.offered, self.capacity)

    def add(
        self, inputs: Tensor, labels: Tensor, random: torch.Generator, logits: Tensor | None = None
    ) -> None:
        """Offer a batch to the reservoir; of several processes, the batches of all, see `gathered`."""
        slots = reservoir_slots(self.offered, len(labels), self.capacity, random)
        self.offered += len(labels)
        if not slots:
            return
        where = torch.tensor(list(slots), device=self.labels.device)
        which = torch.tensor(list(slots.values()), device=self.labels.device)
        self.inputs[where] = inputs[which]
        self.labels[where] = labels[which]
        if logits is not None:
            self.logits[where] = logits[which].float()

    def replace(self, inputs: Tensor, labels: Tensor) -> None:
        """Hold exactly these (at most `capacity`) examples."""
        count = len(labels)
        self.offered = count
        self.inputs[:count], self.labels[:count] = inputs, labels

    def sample(self, count: int, random: torch.Generator) -> Stored | None:
        """`count` different examples (all of them when there are fewer), drawn uniformly; None when empty.

        Several processes, whose `random` is in the same state, get different ones as far as there are enough.
        """
        if len(self) == 0:
            return None
        mine = torch.arange(min(count, len(self))) + rank() * count
        which = torch.randperm(len(self), generator=random)[mine % len(self)].to(self.labels.device)
        logits = self.logits[which] if self.logits.shape[1] else None
        return Stored(self.inputs[which], self.labels[which], logits)
