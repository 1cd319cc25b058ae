"""An order of images in which every class is equally likely at every place: pure functions."""

import torch
from torch import Tensor


def evened_order(labels: Tensor, random: torch.Generator) -> Tensor:
    """Places 0..N-1 as often as they are trained on in an epoch of N images: int64 (N,).

    Of K classes every K places in a row hold each class once, in a random order. The images of a class come in a
    random order, all of them before one comes again; of a class larger than N / K only so many come in an epoch.

    Args:
        labels: int64 (N,); classes without images do not count.
    """
    members = [(labels == label).nonzero().squeeze(1) for label in labels.unique()]
    each = -(-len(labels) // len(members))
    columns = []
    for places in members:
        rounds = -(-each // len(places))
        shuffled = [places[torch.randperm(len(places), generator=random)] for _ in range(rounds)]
        columns.append(torch.cat(shuffled)[:each])
    turns = torch.rand(each, len(members), generator=random).argsort(1)
    return torch.stack(columns, 1).gather(1, turns).flatten()[: len(labels)]
