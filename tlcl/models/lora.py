"""LoRA: small trained matrices beside the linear layers of the blocks, added and merged again by peft."""

import torch
from torch import nn

from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.seeding import derive_seed


def require_peft() -> None:
    """That the package of the extra `peft` is there.

    Raises:
        UserError: it is missing.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UserError("model.lora needs the package peft: pip install 'tlcl[peft]'") from None


def lora_layers(net: Blocks) -> list[str]:
    """Names of the linear layers that get matrices: all of every block but the head.

    Raises:
        UserError: there are none, or the network has BatchNorm.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        raise UserError(
            "model.lora is for networks without BatchNorm, whose statistics would move with the training and which "
            "peft does not restore; set model.lora=0, or choose a network with LayerNorm"
        )
    inside = {id(module) for name in net.names[:-1] for module in net.block(name).modules()}
    # Not subclasses, nor what others read past its forward, as MultiheadAttention and BEiT's attention do.
    linear = {
        name: module
        for name, module in net.named_modules()
        if type(module) is nn.Linear and id(module) in inside and module is not net.classifier
    }
    called = _called(net, list(linear.values()))
    found = [name for name, module in linear.items() if id(module) in called]
    if not found:
        raise UserError("model.lora adds to linear layers, and this network's blocks have none; set model.lora=0")
    return found


@torch.no_grad()
def _called(net: Blocks, layers: list[nn.Linear]) -> set[int]:
    """The ids of those layers whose own forward the network runs; its modes stay as they are."""
    seen: set[int] = set()
    handles = [layer.register_forward_hook(lambda layer, *_: seen.add(id(layer))) for layer in layers]
    modes = {module: module.training for module in net.modules()}
    try:
        size = net.inputs.size
        net.eval()(torch.zeros((1, 3, size, size), dtype=torch.uint8, device=net.inputs.mean.device))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return seen


def add_lora(net: Blocks, rank: int, alpha: int, seed: int) -> None:
    """Put `alpha / rank * B A` beside every weight of `lora_layers`, in place; the outputs stay the same.

    Hu et al. 2022, "LoRA: low-rank adaptation of large language models", section 4.1: A is random, the same for
    equal `seed`, B zero.

    Args:
        net: with its weights; its keys are others until `merge_lora`.
        rank: of B A, at least 1.

    Raises:
        UserError: see `require_peft` and `lora_layers`.
    """
    layers = lora_layers(net)
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lora"))
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers), net)
    net.requires_grad_(True)  # what trains is for `set_trainable` to say


def merge_lora(net: Blocks) -> None:
    """Add the matrices to the weights, in place: the network has the layers and keys of before `add_lora`.

    Without any, nothing.
    """
    for name, module in list(net.named_modules()):
        if not hasattr(module, "lora_A"):
            continue
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, module.get_base_layer())


def base_weights(net: Blocks) -> set[nn.Parameter]:
    """What LoRA never trains: everything but its matrices and the head; empty in a network without it."""
    head = set(net.block("head").parameters())
    named = [(key, one) for key, one in net.named_parameters() if one not in head]
    others = {one for key, one in named if ".lora_" not in key}
    return others if len(others) < len(named) else set()
