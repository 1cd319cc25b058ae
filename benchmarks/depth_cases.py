"""Cases of the question how deep to retrain: network, images, number of labels, seed, fixed before any was run.

Each setting is trained on all the labels of a case, from the same fitted head, and answers about the same test
images; nothing is chosen by them. A finished case is kept; the same command goes on where it was stopped.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cases import answers, go_on, read, rights
from benchmarks.common import archives
from tlcl.config.candidates import candidates
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.data.image_tensors import ImageSubset, ImageTensors
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.sources.folder_images import Decoding, load_folder
from tlcl.data.sources.registry import load_source
from tlcl.data.splits import stratified_order
from tlcl.data.versions import Versions
from tlcl.finetuning.fitted_head import choose_penalty, fit_head
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.first_answer import FirstAnswer
from tlcl.jobs.pretrain import start_weights
from tlcl.jobs.shared_start import SharedStart
from tlcl.models.blocks import FEATURES
from tlcl.models.build import build_model
from tlcl.prefix_cache.activations import FrozenBlocks, Keeping, activations

MOST_TESTED, SHARE_TESTED = 1000, 0.4
PIXELS = 112


@dataclass(frozen=True)
class Images:
    """One set of images: archives below a folder, and how they are stored; none: the embedded digits.

    Attributes:
        tested: test images at most.
        classes: the first so many; None: all.
    """

    name: str
    archives: tuple[str, ...]
    size: int
    tested: int = MOST_TESTED
    classes: int | None = None


SETS = {
    one.name: one
    for one in (
        Images("ants and bees", ("hymenoptera/train.tar", "hymenoptera/val.tar"), PIXELS),
        Images("PACS photo", ("pacs/photo.tar",), PIXELS),
        Images("PACS art painting", ("pacs/art_painting.tar",), PIXELS),
        Images("PACS cartoon", ("pacs/cartoon.tar",), PIXELS),
        Images("PACS sketch", ("pacs/sketch.tar",), PIXELS),
        Images("CIFAR-10", ("cifar10/train.tar",), 32, 2000),
        Images("Tiny-ImageNet", ("tiny_imagenet32/train.tar.gz",), 32, 2000, classes=20),
        Images("digits", (), 8),
    )
}
NETWORKS = {
    "ResNet-18 up to layer3": ("model=resnet18", "model.cut=layer3"),
    "EfficientNet-Lite0": ("model=efficientnet_lite0", "model.weights=imagenet"),
}


@dataclass(frozen=True)
class Case:
    """One network, on so many labelled images of one set, drawn by one seed."""

    network: str
    images: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.network}, {self.images}, {self.labels} labels, seed {self.seed}"


@cache
def pool(data: Path, name: str, cache_dir: str) -> ImageTensors:
    """All images of a set, archives joined."""
    one = SETS[name]
    if not one.archives:
        digits = load_source(DigitsConfig("digits"), cache_dir)
        both = digits.pool, digits.test
        everything = torch.cat([part.images for part in both]), torch.cat([part.labels for part in both])
        return ImageTensors(*everything, digits.pool.classes)
    how = Decoding(one.size, 3, "error", Path(cache_dir))
    parts = [load_folder(data / path, how).data for path in one.archives]
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    if one.classes is not None:
        kept = labels < one.classes
        images, labels = images[kept], labels[kept]
    return ImageTensors(images, labels, parts[0].classes[: one.classes])


def files_of(options: argparse.Namespace) -> dict[str, Path]:
    """Everything that the cases are measured on, below --data, and --weights."""
    names = [*(archive for one in SETS.values() for archive in one.archives), "imagenet_samples/samples.tar"]
    weights = {} if options.weights is None else {f"weights/{options.weights.name}": options.weights}
    return {**weights, **archives(options.data, names)}


def split(labels: torch.Tensor, one: Images, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Test images, and the others in an order whose every beginning has the classes in proportion."""
    order = stratified_order(labels, seed, "depth_cases")
    tested = min(one.tested, round(SHARE_TESTED * len(order)))
    rest = order[tested:]
    return order[:tested].sort().values, rest[stratified_order(labels[rest], seed, "depth_cases/train")]


def labels_there(data: Path, name: str, cache_dir: str) -> int:
    """How many images of a set are left to train on."""
    known = pool(data, name, cache_dir).labels
    return len(split(known, SETS[name], 0)[1])


def config_of(case: Case, weights: Path) -> Config:
    chosen = [*NETWORKS[case.network], f"model.input_size={PIXELS}", "data.train=/images", "logger=none"]
    if "ResNet" in case.network:
        chosen.append(f'model.weights="{weights.resolve()}"')
    composed = composed_config(["+experiment=how_deep", *chosen, f"seed={case.seed}", "trainer.progress=false"])
    return parse_config(composed)


@dataclass(frozen=True)
class Prepared:
    """What every setting of a case begins with.

    Attributes:
        first: the head on the frozen network, fitted to all labels of the case.
        test, tested: uint8 images and labels that nothing is chosen by.
        logits: the head's, of the test images.
        seconds: until then.
    """

    config: Config
    start: SharedStart
    first: FirstAnswer
    test: torch.Tensor
    tested: torch.Tensor
    logits: torch.Tensor
    seconds: float


def prepared(case: Case, data: Path, weights: Path) -> Prepared:
    """The case's images, network and fitted head."""
    began, config = time.perf_counter(), config_of(case, weights)
    device = choose_device(config)
    images = pool(data, case.images, config.cache_dir)
    test, order = split(images.labels, SETS[case.images], case.seed)
    train = order[: case.labels].sort().values
    classes, labels = len(images.classes), images.labels[train]
    net, backbone = build_model(config.model, classes, config.seed)
    start_weights(config, net, backbone)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    start = SharedStart(config, net, ImageSubset(images.images, train), labels, classes, device)
    keeping = replace(Keeping.of(config), mode="ram", dtype="float32")

    def features(part: torch.Tensor, versions: int) -> torch.Tensor:
        subset = ImageSubset(images.images, part)
        blocks = FrozenBlocks(net, subset, Versions(versions), device, config.trainer.of_frozen, False)
        return activations(blocks, [FEATURES], keeping)[FEATURES].values

    mine, theirs = features(train, 2), features(test, 1)
    chosen = choose_penalty(mine.mean(1), mine[:, 0], labels, classes, config.seed)
    head = fit_head(mine.mean(1), labels, classes, chosen.penalty)
    first = FirstAnswer(head, chosen, torch.arange(len(train)), mine, {}, {}, None)
    seconds = time.perf_counter() - began
    return Prepared(
        config, start, first, images.images[test], images.labels[test], head.logits(theirs), seconds
    )


def measure(case: Case, data: Path, weights: Path, settings: Sequence[Any]) -> dict[str, Any]:
    """Every setting's answers about the test images, and its seconds."""
    ready = prepared(case, data, weights)
    start, config = ready.start, ready.config
    assert config.depth is not None
    found: dict[str, Any] = {"head": _answered(ready.logits, ready.tested, ready.seconds, 0)}
    field, images = candidates(settings, start.net.names), len(start.labels)
    configs = [start.config_for(one.thaw, images, config.depth.steps) for one in field]
    start.fill(configs, Keeping.of(config))
    for one, own in zip(field, configs, strict=True):
        began = time.perf_counter()
        start.train(own, torch.arange(images), ready.first.head)
        seconds = time.perf_counter() - began
        logits = start.answers(own, None, ready.test)
        found[one.name] = _answered(logits, ready.tested, seconds, own.trainer.epochs)
    return {
        "network": case.network, "images": case.images, "labels": images, "seed": case.seed,
        "blocks": list(start.net.names), "tested": len(ready.tested), "settings": found,
    }  # fmt: skip


def _answered(logits: torch.Tensor, labels: torch.Tensor, seconds: float, epochs: int) -> dict[str, Any]:
    right = logits.argmax(1) == labels
    return {
        "right": answers(right.numpy()), "acc": float(right.double().mean()), "seconds": round(seconds, 2),
        "epochs": epochs,
    }  # fmt: skip


def run(
    cases: Sequence[Case], data: Path, weights: Path, kept: Path, settings: Sequence[Any], minutes: float
) -> None:
    """Measure what is not measured yet, for so many minutes at most."""

    def words(found: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {100 * one['acc']:.1f}" for name, one in found["settings"].items())

    go_on(kept, ((case.name, partial(measure, case, data, weights, settings)) for case in cases), minutes, words)


def measured_cases(kept: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Those of the cases that are measured."""
    known = read(kept)
    return [known[case.name] for case in cases if case.name in known]


def right(found: dict[str, Any], setting: str) -> np.ndarray:
    """bool (n,), which test images are right."""
    return rights(found["settings"][setting]["right"], found["tested"])
