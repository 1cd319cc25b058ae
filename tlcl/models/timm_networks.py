"""timm's networks by name, with random weights."""

import difflib
from typing import Any

from torch import nn

from tlcl.errors import UserError
from tlcl.system.text import shown

# What networks raise for images of a size that they do not take.
REFUSALS = (TypeError, ValueError, AssertionError, RuntimeError, ArithmeticError, LookupError)


def input_of(arch: str) -> Any:
    """timm's `pretrained_cfg` of a network.

    Raises:
        UserError: there is no such network.
    """
    import timm  # here, as it takes a second that other networks need not wait for

    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch.partition(".")[0], timm.list_models(), n=1)
        hint = f"did you mean {near[0]}?" if near else "timm.list_models() has them all"
        raise UserError(f"model.arch={shown(arch)} is no network of timm {timm.__version__}; {hint}")
    try:
        return timm.get_pretrained_cfg(arch)
    except RuntimeError:
        name, _, tag = arch.partition(".")
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{name}.*")]
        known = f"the tags are {', '.join(tags[:8])}" if tags else "there are no weights of it"
        raise UserError(f"model.arch={shown(arch)} has the unknown tag {shown(tag)}; {known}") from None


def create(arch: str, size: int, classes: int, drop_path: float = 0.0) -> nn.Module:
    """The network with random weights, for images of a size in pixels and so many classes.

    Raises:
        UserError: no such network, or it does not take images of that size.
    """
    known = input_of(arch)

    options: dict[str, Any] = {}
    if known is not None and known.fixed_input_size and known.input_size[-1] != size:
        options["img_size"] = size
    try:
        network = _created(arch, options, num_classes=classes, drop_rate=0.0, drop_path_rate=drop_path)
    except UserError:
        raise
    except REFUSALS as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"model.arch={arch} cannot be built for model.input_size={size}: {reason}") from None
    return network


def _created(arch: str, options: dict[str, Any], **common: Any) -> nn.Module:
    """The network, also one that has no residual branches to drop; many drop some by default."""
    import timm

    try:
        network: nn.Module = timm.create_model(arch, **common, **options)
    except TypeError:
        drop_path = common.pop("drop_path_rate")
        network = timm.create_model(arch, **common, **options)
        if drop_path:
            raise UserError(
                f"model.drop_path={drop_path}: {arch} has no residual branches to drop; set it to 0"
            ) from None
    return network
