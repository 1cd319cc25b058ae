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


def seed_epoch(derived: int, epoch: int) -> None:
    """Seed torch's global generator, from which dropout draws, for the batches of an epoch.

    To be called at its first batch: the loader's iterator draws a number too, when it is made, which is after the
    start of every epoch but the first of a process; so a resumed epoch has the numbers of an uninterrupted one.

    Args:
        derived: by `derive_seed`.
    """
    torch.manual_seed(derived)
    if epoch:
        torch.empty((), dtype=torch.int64).random_()


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
