"""One optimizer with one parameter group a block, all declared before the first step."""

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tlcl.config import OptimConfig
from tlcl.finetuning.schedule import block_learning_rates, lr_factor
from tlcl.models.blocks import Blocks


def build_optimizer(net: Blocks, config: OptimConfig) -> Optimizer:
    """SGD (Nesterov momentum) or AdamW over every block, frozen ones included.

    A frozen parameter has grad None, which torch's optimizers pass over: no update, no decay, no state. So a
    scheduler sees the same groups from the first step to the last, and a checkpoint always has the same ones.
    """
    rates = block_learning_rates(config.lr, config.block_lr_decay, config.block_lr, net.names)
    groups = [{"name": name, "params": list(net.block(name).parameters()), "lr": rates[name]} for name in net.names]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def build_scheduler(optimizer: Optimizer, config: OptimConfig, total_steps: int, epochs: int) -> LambdaLR:
    """`lr_factor` per step on every group."""
    warmup_steps = round(total_steps * config.warmup_epochs / epochs)

    def factor(step: int) -> float:
        return lr_factor(step, total_steps=total_steps, warmup_steps=warmup_steps, kind=config.schedule)

    return LambdaLR(optimizer, factor)
