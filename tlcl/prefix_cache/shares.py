"""What is computed once is shared out: each process of a run computes some batches, and tells the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tlcl.distributed.collectives import broadcast, lowest, rank, world
from tlcl.distributed.devices import cluster_environment

T = TypeVar("T")


@dataclass(frozen=True)
class Shares:
    """Which part of the work is this process's; as it is made, all of it.

    With several processes, every method but `mine` is collective: all of them call it, in the same order.

    Attributes:
        rank, world: which of the processes this is, and of how many.
        writes: whether it writes files: one process of each node, so that `cache_dir` need not be shared.
    """

    rank: int = 0
    world: int = 1
    writes: bool = True

    @classmethod
    def of_run(cls) -> "Shares":
        """Those of the run that this process belongs to."""
        if world() == 1:
            return cls()
        return cls(rank(), world(), cluster_environment().local_rank() == 0)

    def mine(self, batches: Sequence[T]) -> Sequence[T]:
        """Every world-th, so that no process waits long for what another computes."""
        return batches[self.rank :: self.world]

    def all(self, holds: bool, device: torch.device) -> bool:
        """Whether it holds in every process."""
        return bool(self.lowest(int(holds), device))

    def lowest(self, number: int, device: torch.device) -> int:
        return number if self.world == 1 else lowest(number, device)

    def exchanged(
        self, parts: Sequence[slice], mine: Iterator[Tensor], like: Tensor, device: torch.device
    ) -> Iterator[Tensor]:
        """The outputs of all batches, in order, in every process.

        Args:
            parts: the rows of each batch.
            mine: the outputs of this process's batches, on the device.
            like: (n, ...), of whose shape and dtype the rows are.
        """
        if self.world == 1:
            yield from (result.to(like.dtype) for result in mine)
            return
        for start in range(0, len(parts), self.world):
            turn = parts[start : start + self.world]
            own = next(mine) if self.rank < len(turn) else None
            for process, part in enumerate(turn):
                rows = torch.empty((part.stop - part.start, *like.shape[1:]), dtype=like.dtype, device=device)
                if process == self.rank and own is not None:
                    rows.copy_(own)
                broadcast(rows, process)
                yield rows


ALONE = Shares()
