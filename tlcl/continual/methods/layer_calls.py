"""Which layers' gradients a forward hook sees whole, sample by sample, and which parameters need another way."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SIZES = (2, 3)  # of the batches tried: what has as many rows as images in both has them by nature, not by chance


@dataclass(frozen=True)
class Trained:
    """The trained parameters of a network, by how the gradient of a single sample is had.

    Attributes:
        layers: names of modules that are called once in a forward pass, on one tensor with a row for each sample,
            have no parts with parameters, and alone use what they own.
        others: names of all other parameters that the outputs depend on.
    """

    layers: list[str]
    others: list[str]


@dataclass
class _Calls:
    """What one forward pass tells of a module that owns trained parameters."""

    count: int = 0
    whole: bool = True
    kept: dict[str, nn.Parameter] = field(default_factory=dict)
    taken: list[tuple[Tensor, int]] = field(default_factory=list)

    def usual(self) -> bool:
        unchanged = all(tensor._version == version for tensor, version in self.taken)
        return self.count == 1 and self.whole and unchanged


def own(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters that the module has itself, not its parts."""
    return {name: value for name, value in module.named_parameters(recurse=False) if value.requires_grad}


def survey(net: nn.Module, inputs: Tensor) -> Trained:
    """Sort the trained parameters of `net` by trying it on two small batches.

    Args:
        net: in eval mode.
        inputs: (N, ...), N > 0, of which the first alone is used.
    """
    owners = {name: module for name, module in net.named_modules() if own(module)}
    shared = Counter(id(value) for module in net.modules() for value in module._parameters.values())
    layers = {
        name
        for name, module in owners.items()
        if len(list(module.named_parameters())) == len(list(module.named_parameters(recurse=False)))
        and all(shared[id(value)] == 1 for value in own(module).values())
    }
    elsewhere: set[str] = set()
    called: set[str] = set()
    for size in SIZES:
        with _copies_in_calls(owners, size) as calls, torch.enable_grad():
            outputs = net(inputs[:1].expand(size, *inputs.shape[1:])).sum()
        layers -= {name for name, one in calls.items() if not one.usual()}
        called |= {name for name, one in calls.items() if one.count}
        parameters = {name: value for name, value in net.named_parameters() if value.requires_grad}
        found = torch.autograd.grad(outputs, list(parameters.values()), allow_unused=True)
        elsewhere |= {name for name, value in zip(parameters, found, strict=True) if value is not None}
    of = {id(value): name for name, value in net.named_parameters()}
    names = {owner: [of[id(value)] for value in own(module).values()] for owner, module in owners.items()}
    layers -= {owner for owner in layers if elsewhere.intersection(names[owner])}
    used = [name for owner in owners for name in names[owner] if owner in called or name in elsewhere]
    by_layers = {name for owner in layers for name in names[owner]}
    others = [name for name in dict.fromkeys(used) if name not in by_layers]
    return Trained([owner for owner in owners if owner in layers], others)


@contextmanager
def _copies_in_calls(owners: dict[str, nn.Module], size: int) -> Iterator[dict[str, _Calls]]:
    """While open, each module's forward uses copies of its own parameters.

    So whatever has a gradient with respect to a parameter itself used it from outside, as BEiT's attention uses
    the weights of a layer that it never calls.
    """
    calls = {name: _Calls() for name in owners}

    def before(calls: _Calls, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.count += 1
        calls.whole &= len(args) == 1 and not kwargs and _a_row_each(args[0], size)
        calls.taken += [(value, value._version) for value in args if isinstance(value, Tensor)]
        if not calls.kept:
            calls.kept = own(module)
            for name, value in calls.kept.items():
                module._parameters[name] = nn.Parameter(value.detach().clone())

    def after(calls: _Calls, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        module._parameters.update(calls.kept)
        calls.kept = {}
        calls.whole &= _a_row_each(output, size) and output.requires_grad
        return output.clone() if isinstance(output, Tensor) else output

    handles = []
    for name, module in owners.items():

        def enter(m: nn.Module, args: Any, kwargs: Any, one: _Calls = calls[name]) -> None:
            before(one, m, args, kwargs)

        def leave(m: nn.Module, args: Any, output: Any, one: _Calls = calls[name]) -> Any:
            return after(one, m, args, output)

        handles += [
            module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)
        ]  # fmt: skip
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
        for name, module in owners.items():
            module._parameters.update(calls[name].kept)


def _a_row_each(value: Any, size: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == size
