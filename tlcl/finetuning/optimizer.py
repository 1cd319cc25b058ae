"""One optimizer with one parameter group a block, all declared before the first step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tlcl.config.schema import OptimConfig
from tlcl.config.stages import named_blocks, stages
from tlcl.config.thaw import BLOCKS
from tlcl.models.blocks import Blocks


def build_optimizer(net: Blocks, config: OptimConfig) -> Optimizer:
    """SGD (Nesterov momentum) or AdamW over every block, frozen ones included.

    A frozen parameter has grad None, which torch's optimizers pass over: no update, no decay, no state. So a
    scheduler sees the same groups from the first step to the last, and a checkpoint always has the same ones.
    Where optim.l2_sp takes the place of the backbone's decay, the head alone decays.
    """
    rates = block_learning_rates(config.lr, config.block_lr_decay, config.block_lr, net.names)
    groups: list[dict[str, Any]] = [
        {"name": name, "params": list(net.block(name).parameters()), "lr": rates[name]} for name in net.names
    ]
    if config.l2_sp:
        for group in groups[:-1]:
            group["weight_decay"] = 0.0
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def without_empty_blocks(checkpoint: dict[str, Any], blocks: Sequence[str]) -> None:
    """Take groups without parameters out of a checkpoint of before, when small_cnn had dropout as a block.

    Args:
        checkpoint: Lightning's; changed.
        blocks: those that the network has.
    """
    for optimizer, scheduler in zip(
        checkpoint.get("optimizer_states", []), checkpoint.get("lr_schedulers", []), strict=False
    ):
        groups = optimizer["param_groups"]
        kept = [place for place, one in enumerate(groups) if one["params"] or one.get("name") in blocks]
        if len(kept) == len(groups):
            continue
        optimizer["param_groups"] = [groups[place] for place in kept]
        for key in ("base_lrs", "_last_lr", "lr_lambdas"):
            if key in scheduler:
                scheduler[key] = [scheduler[key][place] for place in kept]


def build_scheduler(optimizer: Optimizer, config: OptimConfig, total_steps: int, epochs: int) -> LambdaLR:
    """`lr_factor` per step on every group."""
    warmup_steps = round(total_steps * config.warmup_epochs / epochs)

    def factor(step: int) -> float:
        return lr_factor(step, total_steps=total_steps, warmup_steps=warmup_steps, kind=config.schedule)

    return LambdaLR(optimizer, factor)


def block_learning_rates(
    lr: float, decay: float, explicit: Mapping[str, float], order: Sequence[str] = BLOCKS
) -> dict[str, float]:
    """Learning rate of each block: `lr * decay**distance_from_head` unless it or its stage is given in `explicit`.

    Discriminative fine-tuning after Howard & Ruder 2018, "Universal Language Model Fine-tuning", section 3.2; the
    distance counts stages, which are single blocks unless there are many, see `stages`.
    """
    rows = stages(order)
    rates = {block: lr * decay ** (len(rows) - 1 - index) for index, row in enumerate(rows) for block in row}
    # A block's own rate goes before its stage's.
    for name in sorted(explicit, key=lambda name: name in order):
        rates.update(dict.fromkeys(named_blocks("optim.block_lr", name, order), explicit[name]))
    return rates


def lr_factor(step: int, *, total_steps: int, warmup_steps: int, kind: str) -> float:
    """Factor on every learning rate at `step` (0-based), in 0..1.

    Linear warm-up over `warmup_steps`, then `constant` or `cosine` to zero at `total_steps`
    (Loshchilov & Hutter 2017, "SGDR", eq. 5 with one cycle).
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if kind == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
