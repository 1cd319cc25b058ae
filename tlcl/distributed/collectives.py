"""What the processes of one run tell each other; alone in its run, a process hears what it said itself.

Every function but `world`, `rank` and `leads` is collective: all processes call it, in the same order.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def in_group() -> bool:
    """Whether this process belongs to a run of several, or to one that `trainer.strategy=ddp` made a group."""
    return dist.is_available() and dist.is_initialized()


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if in_group() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if in_group() else 0


def leads() -> bool:
    """Whether this is the first process: the one that measures, records and reports."""
    return rank() == 0


def gathered(values: Tensor) -> Tensor:
    """(B, ...) of each process -> (world * B, ...), in the order of the ranks, the same everywhere.

    B must be the same in all of them.
    """
    if world() == 1:
        return values
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(world())]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def average(values: Sequence[Tensor]) -> None:
    """Replace each tensor (floating point) by its mean over the processes, in place."""
    if world() == 1 or not values:
        return
    flat = torch.cat([value.detach().reshape(-1).float() for value in values])
    dist.all_reduce(flat)
    flat /= world()
    with torch.no_grad():
        for value, mean in zip(values, flat.split([value.numel() for value in values]), strict=True):
            value.copy_(mean.view_as(value))


def lowest(number: int, device: torch.device) -> int:
    """The lowest of the numbers that the processes give.

    Args:
        device: of this process, where NCCL needs what it sends.
    """
    if world() == 1:
        return number
    value = torch.tensor(number, dtype=torch.int64, device=device)
    dist.all_reduce(value, dist.ReduceOp.MIN)
    return int(value)


def broadcast(value: Tensor, source: int) -> None:
    """Replace `value`, contiguous, of any dtype, by that of the process `source`, in place."""
    if world() > 1:
        dist.broadcast(value.view(-1).view(torch.uint8), src=source)


def take_from_first(module: nn.Module) -> None:
    """Replace every parameter and buffer of `module` by that of the first process, in place."""
    if world() == 1:
        return
    with torch.no_grad():
        for value in [*module.parameters(), *module.buffers()]:
            shared = value.detach().contiguous()
            dist.broadcast(shared, src=0)
            value.copy_(shared)


def first_difference(module: nn.Module) -> str | None:
    """The name of the first tensor in the state of `module` whose bits are not the same in all processes."""
    if world() == 1:
        return None
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    sums = [zlib.crc32(_bytes(value)) for value in state.values()]
    device = next(iter(state.values())).device
    each = gathered(torch.tensor([sums], dtype=torch.int64, device=device)).cpu()
    differs = (each != each[0]).any(0).nonzero()
    return list(state)[int(differs[0])] if len(differs) else None


def _bytes(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
