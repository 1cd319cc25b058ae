"""A stretch of a larger network as a module of its own: what it computes and the parameters that it owns."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

Run = Callable[[Any, Tensor], Tensor]


class Part(nn.Module):
    """Runs `steps` in the network that it is a part of; its submodules and parameters are the network's own.

    Args:
        network: kept, but not as a submodule; a copy of both is a copy of both.
        steps: (network, input) -> output, one after another, without any module in their closures.
        owned: paths of the modules and parameters in the network that this part trains.
        writes: whether the first step writes into its input, which is then copied.
    """

    def __init__(
        self, network: nn.Module, steps: Sequence[Run], owned: Sequence[str] = (), *, writes: bool = False
    ) -> None:
        super().__init__()
        self.__dict__["network"] = network
        self.steps, self.writes = tuple(steps), writes
        for path in owned:
            found: Any = network
            for name in path.split("."):
                found = getattr(found, name)
            name = path.replace(".", "_")
            if isinstance(found, nn.Parameter):
                self.register_parameter(name, found)
            else:
                self.add_module(name, found)

    def forward(self, x: Tensor) -> Tensor:
        """The input of the first step -> the output of the last."""
        if self.writes:
            x = x.clone()
        for step in self.steps:
            x = step(self.network, x)
        return x
