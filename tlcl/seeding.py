"""Every random number of a run comes from (seed, task, epoch, rank) and the name of what draws it."""

import hashlib

import torch


def derive_seed(seed: int, stream: str, *, task: int = 0, epoch: int = 0, rank: int = 0) -> int:
    """A 63-bit seed that is a pure function of its arguments.

    `stream` names the consumer ("order", "augment", ...), so that two consumers never share numbers.
    Hashing, unlike adding the parts, gives (seed 0, epoch 1) and (seed 1, epoch 0) unrelated streams.
    """
    text = f"{seed}/{stream}/{task}/{epoch}/{rank}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(
    seed: int,
    stream: str,
    *,
    task: int = 0,
    epoch: int = 0,
    rank: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Generator:
    """A fresh torch generator on `device` at `derive_seed(...)`."""
    derived = derive_seed(seed, stream, task=task, epoch=epoch, rank=rank)
    return torch.Generator(device=device).manual_seed(derived)
