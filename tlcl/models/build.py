"""From the `model` group to blocks without or with weights."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from tlcl.config.registry import GROUPS
from tlcl.config.schema import ModelConfig
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone, Blocks, InputTransform, Pieces
from tlcl.models.layouts import NCHW, Pooled
from tlcl.seeding import derive_seed


def backbone_of(config: ModelConfig) -> Backbone:
    """The backbone that `config.name` names; for networks of a library, the one that its other keys name."""
    found = GROUPS["model"][config.name].thing
    backbone: Backbone = found if isinstance(found, Backbone) else found(config)
    return backbone


def build_model(config: ModelConfig, num_classes: int, seed: int) -> tuple[Blocks, Backbone]:
    """A freshly initialised network, the same for equal `seed`; see `apply_weights` for its weights.

    Raises:
        UserError: a user's own backbone whose blocks have other names than its config says.
    """
    backbone = backbone_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        built = backbone.build(num_classes, config)
        pieces = built if isinstance(built, Pieces) else Pieces(built)
        if tuple(pieces.blocks) != config.whole():
            raise UserError(
                f"model={config.name} has the blocks {', '.join(pieces.blocks)}; "
                f"they must be {', '.join(config.whole())}"
            )
        names = config.block_names()
        if config.cut is not None:
            pieces = _cut(pieces, names, config.input_size)
    inputs = InputTransform(config.input_size, backbone.mean, backbone.std, backbone.mode)
    code = f"{backbone.code} cut" if config.cut is not None else backbone.code  # other features of the same blocks
    return Blocks(inputs, pieces, code), backbone


def _cut(pieces: Pieces, names: tuple[str, ...], size: int) -> Pieces:
    """The blocks up to the last of `names`, and a new last layer on their pooled outputs."""
    kept: Mapping[str, nn.Module] = {name: pieces.blocks[name] for name in names[:-1]}
    pool = Pooled(pieces.layouts.get(names[-2], NCHW), pieces.prefix)
    with torch.no_grad():
        x = torch.zeros(2, 3, size, size)
        for block in kept.values():
            x = block.eval()(x)
    old = pieces.blocks["head"]
    assert isinstance(old, nn.Sequential)
    assert isinstance(old[-1], nn.Linear)
    layer = nn.Linear(pool(x).shape[1], old[-1].out_features)
    if pieces.network is not None:
        gone = [block for name, block in pieces.blocks.items() if name not in names]
        for block in (*gone, *([pieces.features] if pieces.features is not None else [])):
            _leave_out(pieces.network, block)
        _put(pieces.network, old[-1], layer)
    for block in kept.values():
        block.train()
    *before, last = OrderedDict(old.named_children()).items()
    drop = [(name, part) for name, part in before if isinstance(part, nn.Dropout)]
    head = nn.Sequential(OrderedDict([("pooled", pool), *drop, (last[0], layer)]))
    return replace(pieces, blocks={**kept, "head": head}, features=None)


def _leave_out(network: nn.Module, block: nn.Module) -> None:
    """Take a block's modules and parameters out of the network, whose others keep their names."""
    gone = {id(part) for part in block.children()} | {id(part) for part in block.parameters(recurse=False)}
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if id(child) in gone:
                setattr(module, name, nn.Identity())
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) in gone:
                setattr(module, name, None)


def _put(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """`new` under the name of `old`."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if child is old:
                setattr(module, name, new)
