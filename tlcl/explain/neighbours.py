"""The training images that a network finds most alike to a given one."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tlcl.adaptation.learner import load_domains, prepare
from tlcl.config.schema import Config
from tlcl.data.image_tensors import ImageSubset, ImageTensors
from tlcl.data.sources.registry import load_source
from tlcl.data.splits import split_of
from tlcl.data.versions import Versions
from tlcl.models.blocks import FEATURES, Blocks
from tlcl.prefix_cache.activations import FrozenBlocks, Keeping, activations
from tlcl.tracking.data_record import data_record, refuse_changed

QUERIES = 1024  # rows of distances held at once


def nearest(queries: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of `known` at the smallest cosine distance 1 - cos(q, k) from each query, nearest first.

    Args:
        queries: (M, D).
        known: (N, D).
        count: k <= N.

    Returns:
        Distances (M, k), 0 (same direction) to 2, and int64 rows (M, k).
    """
    known = torch.nn.functional.normalize(known, dim=1)
    found = []
    for part in torch.nn.functional.normalize(queries, dim=1).split(QUERIES):
        found.append((1 - part @ known.T).clamp_min(0).topk(count, largest=False))
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


class TrainingImages(NamedTuple):
    """What a run was trained on, or one of its domains.

    Attributes:
        domain: empty, or `source` or `target` in an adaptation.
        images: n of (C, H, W).
        labels: int64 (n,), -1 where training saw none.
        classes: names by label.
        names: of their files, or by their numbers among the images that are no test images.
    """

    domain: str
    images: ImageSubset
    labels: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]


def training_images(config: Config, run_dir: Path | None = None) -> list[TrainingImages]:
    """The training split of a run's config, of both domains for an adaptation.

    Args:
        run_dir: of the run, whose data must not have changed since; None: that is not asked.

    Raises:
        UserError: the data is not there any more, has changed, or is too small for the config's sizes.
    """
    if config.source is None:
        source = load_source(config.data, config.cache_dir)
        if run_dir is not None:
            refuse_changed(run_dir, data_record({"training": source.pool}))
        # A continual stream splits as fine-tuning does, and its tasks are all of it.
        pool, chosen = source.pool, split_of(source, config.data, config.seed).train
        images, names = ImageSubset(pool.images, chosen), _names(pool, chosen)
        classes = source.domain_classes or pool.classes  # what the network answers
        return [TrainingImages("", images, pool.labels[chosen] % len(classes), classes, names)]
    domains = load_domains(config)
    if run_dir is not None:
        pools = {"source's training": domains[0].pool, "target's training": domains[1].pool}
        refuse_changed(run_dir, data_record(pools))
    sides = zip(("source", "target"), domains, prepare(config, domains).data.domains, strict=True)
    found = []
    for name, domain, side in sides:
        chosen = side.split.train  # with the labels that training saw
        images, names = ImageSubset(side.inputs, chosen), _names(domain.pool, chosen)
        found.append(TrainingImages(name, images, side.labels[chosen], domain.pool.classes, names))
    return found


def _names(pool: ImageTensors, chosen: Tensor) -> tuple[str, ...]:
    return tuple(pool.names[index] if pool.names else f"no. {index}" for index in chosen.tolist())


def features_of(
    net: Blocks, images: Tensor | ImageSubset, config: Config, device: torch.device, *, progress: bool
) -> Tensor:
    """Pooled features float32 (n, D), in the run's precision; kept where the prefix cache keeps features.

    Args:
        images: uint8 (n, C, H, W).
    """
    mode = "ram" if config.data.cache_prefix in ("off", "ram") else "auto"
    keeping = replace(Keeping.of(config), mode=mode, budget=sys.maxsize, dtype="float32")
    blocks = FrozenBlocks(net, images, Versions(1), device, config.trainer.of_frozen, progress)
    return activations(blocks, [FEATURES], keeping)[FEATURES].values.float()


class Neighbour(NamedTuple):
    """A training image.

    Attributes:
        image: uint8 (C, H, W).
        label: its class; None where training saw none.
        domain: empty, or `source` or `target` in an adaptation.
        name: of its file, or its number.
        distance: 0 to 2.
    """

    image: Tensor
    label: str | None
    domain: str
    name: str
    distance: float


def nearest_training_images(
    net: Blocks, images: Tensor, config: Config, run_dir: Path, device: torch.device, count: int, *, progress: bool
) -> list[list[Neighbour]]:
    """For each image the `count` training images at the smallest cosine distance of pooled features.

    Args:
        images: uint8 (N, C, H, W).
        count: all of them if there are fewer.

    Raises:
        UserError: see `training_images`.
    """
    sides = training_images(config, run_dir)
    known = torch.cat([features_of(net, side.images, config, device, progress=progress) for side in sides])
    places = [(side, row) for side in sides for row in range(len(side.labels))]
    queries = features_of(net, images, config, device, progress=progress)
    distances, rows = nearest(queries, known, min(count, len(known)))

    def neighbour(place: int, distance: float) -> Neighbour:
        side, row = places[place]
        label = int(side.labels[row])
        name = side.classes[label] if label >= 0 else None
        return Neighbour(side.images[row], name, side.domain, side.names[row], distance)

    return [
        [neighbour(place, distance) for place, distance in zip(*pair, strict=True)]
        for pair in zip(rows.tolist(), distances.tolist(), strict=True)
    ]
