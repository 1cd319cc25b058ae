"""BatchNorm's running averages of the source, beside those of the target that the network keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SourceAverages(nn.Module):
    """What the network's running averages would be, had it seen the source alone.

    Attributes:
        begun: whether they are a training's, not those that the network was built with.

    Kept by the method of adaptation, not by the network, which is tested, saved and exported with the target's.

    Args:
        net: whose BatchNorm layers are meant; one without averages has nothing here.
    """

    begun: torch.Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.names: list[str] = []
        for number, layer in enumerate(averaging(net)):
            for name, value in (("mean", layer.running_mean), ("var", layer.running_var)):
                assert value is not None
                self.register_buffer(f"{name}{number}", value.detach().clone())
                self.names.append(f"{name}{number}")

    def values(self) -> list[torch.Tensor]:
        """Mean and variance of each layer, in order."""
        return [self.get_buffer(name) for name in self.names]

    @torch.no_grad()
    def begin(self, net: nn.Module) -> None:
        """With the averages of the pretraining, unless training has begun before."""
        if self.begun:
            return
        for own, value in zip(self.values(), _values(net), strict=True):
            own.copy_(value)
        self.begun.fill_(True)

    @contextmanager
    def in_place(self, net: nn.Module) -> Iterator[None]:
        """Meanwhile these are the network's averages: what it sees in training moves these."""
        layers = averaging(net)
        kept = [(layer.running_mean, layer.running_var) for layer in layers]
        ours = self.values()
        try:
            for number, layer in enumerate(layers):
                layer.running_mean, layer.running_var = ours[2 * number], ours[2 * number + 1]
            yield
        finally:
            for layer, (mean, var) in zip(layers, kept, strict=True):
                layer.running_mean, layer.running_var = mean, var

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Checkpoints of before have none of this: it then begins where the network is.
        if not any(key.startswith(prefix) for key in state_dict):
            state_dict |= {f"{prefix}{name}": value for name, value in self.state_dict().items()}
        super()._load_from_state_dict(state_dict, prefix, *rest)


def averaging(net: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep averages, in the order of the modules."""
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None]


def _values(net: nn.Module) -> Iterator[torch.Tensor]:
    for layer in averaging(net):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        yield layer.running_mean
        yield layer.running_var
