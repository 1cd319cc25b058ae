"""The classifier that adversarial methods train to tell the domains apart."""

from torch import nn


def discriminator(width: int, hidden: int) -> nn.Sequential:
    """Vectors (B, width) -> logit (B, 1) that an image is of the target, with two hidden layers, as DANN's.

    No dropout and no BatchNorm, whose statistics over a batch of both domains would tell them apart.
    """
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 1),
    )
