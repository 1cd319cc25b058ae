"""From the config to what learns: both domains, network, method; every mistake that shows without training."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tlcl.adaptation.methods.base import ALL, NONE, AdaptationMethod
from tlcl.adaptation.methods.registry import build_method, method_class
from tlcl.adaptation.pairs import SOURCE, TARGET, PairedDataModule, choose_labelled, hide_labels
from tlcl.adaptation.source_averages import averaging
from tlcl.config.schema import Config, DataConfig
from tlcl.data.datamodule import IndexedDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.class_names import look_alike
from tlcl.data.sources.registry import load_source, load_target
from tlcl.data.splits import split_of, unlabelled_split
from tlcl.errors import UserError
from tlcl.models.blocks import FEATURES, Backbone, Blocks
from tlcl.models.build import build_model

log = logging.getLogger(__name__)


class DomainSources(NamedTuple):
    """The labelled source and the target, with the same classes in the same order."""

    source: Source
    target: Source


class AdaptationLearner(NamedTuple):
    """What learns, before anything is trained; `known` are the target's images whose label training may see."""

    net: Blocks
    backbone: Backbone
    method: AdaptationMethod
    data: PairedDataModule
    known: Tensor


@contextmanager
def about_source(source: DataConfig, target: DataConfig) -> Iterator[None]:
    """What goes wrong with the source domain's data is said of the keys of `source`, not of `data`; paths stay.

    A folder of domains that both are taken from is `data.root`, which is what one types.
    """
    try:
        yield
    except UserError as error:
        shared = {"root"} if getattr(source, "root", None) == getattr(target, "root", "") else set()
        key = rf"(?<![\w./\\-])data\.(?=(?:{'|'.join(vars(source).keys() - shared)})\b)"
        raise UserError(re.sub(key, "source.", str(error))) from None


def reordered(source: Source, classes: tuple[str, ...]) -> Source:
    """`source` with its classes, the same ones, in the order of `classes`."""
    place = torch.tensor([classes.index(name) for name in source.pool.classes])

    def moved(part: ImageTensors) -> ImageTensors:
        return replace(part, labels=place[part.labels], classes=classes)

    return replace(source, pool=moved(source.pool), test=moved(source.test))


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(shown) + (", ..." if len(names) > 5 else "") if names else "none"


def _domain(group: str, data: DataConfig) -> str:
    """The key that says which domain it is."""
    key = next(name for name in ("domain", "train", "name", "source") if getattr(data, name, None))
    return f"{group}.{key}={getattr(data, key)}"


def domain_names(source: DataConfig, target: DataConfig) -> tuple[str, str]:
    """What the domains are called in records and pages: by folder or data set, and by how they are shifted.

    Folders of one name are told apart by their whole paths.
    """

    def name(data: DataConfig, whole: bool = False) -> str:
        named = [getattr(data, key, None) for key in ("domain", "train", "name")]
        found = next((str(one) if whole else Path(str(one)).resolve().name for one in named if one), data.source)
        shift = getattr(data, "shift", "none")
        return found if shift == "none" else f"{found} ({shift})"

    both = name(source), name(target)
    return both if both[0] != both[1] else (name(source, whole=True), name(target, whole=True))


def _same_domain(source: DataConfig, target: DataConfig) -> bool:
    """Whether both are one domain of one folder of domains, whatever path leads to it."""
    ours, theirs = vars(source), vars(target)
    if "domain" in ours and "domain" in theirs:
        folders = [Path(str(one["root"]), str(one["domain"])).resolve() for one in (ours, theirs)]
        return folders[0] == folders[1]
    if ours["source"] != theirs["source"]:
        return False
    which = ("train", "root", "name", "shift")
    return all(_where(ours.get(key)) == _where(theirs.get(key)) for key in which)


def _where(value: object) -> object:
    """A path that is there, without links; anything else as it is."""
    return Path(value).resolve() if isinstance(value, str) and Path(value).exists() else value


def _more_tested(group: str, data: DataConfig) -> str:
    """How a domain comes to two test images."""
    if hasattr(data, "test"):
        return f"give at least 2, e.g. as {group}.test=FOLDER"
    more = f", or raise {group}.test_fraction" if hasattr(data, "test_fraction") else ""
    return f"give at least 2: add images to it{more}"


def load_domains(config: Config) -> DomainSources:
    """Both data sets.

    Grey and colour may meet: a grey image is one whose three channels are equal. Sizes may differ too.

    Raises:
        UserError: data that cannot be had, or domains whose classes are not the same.
    """
    assert config.source is not None
    if _same_domain(config.source, config.data):
        domain = vars(config.data).get("domain")
        other = "source.domain" if domain else "source"
        both = f"source.domain and data.domain are both {domain}" if domain else "source and data are one data set"
        raise UserError(f"{both}; name another {other}")
    with about_source(config.source, config.data):
        source = load_source(config.source, config.cache_dir)
    target = load_target(config.data, config.cache_dir, source.pool.classes)
    ours, theirs = set(source.pool.classes), set(target.pool.classes)
    if ours != theirs:
        raise UserError(
            f"{_domain('source', config.source)} and {_domain('data', config.data)} need the same classes: "
            f"only the source has {_some(ours - theirs)}; only the target has {_some(theirs - ours)}"
            f"{look_alike(sorted(ours - theirs), sorted(theirs - ours))}"
        )
    for group, config_of, tested in (("source", config.source, source), ("data", config.data, target)):
        if len(tested.test) < 2:
            raise UserError(
                f"{_domain(group, config_of)} has {len(tested.test)} test image; how far the domains are apart is "
                f"measured on halves of them, so {_more_tested(group, config_of)}"
            )
    return DomainSources(reordered(source, target.pool.classes), target)


def aligned_place(config: Config) -> str:
    """The block whose outputs the method aligns; `features` for those that align none."""
    return str(getattr(config.adaptation, "block", FEATURES))


def _check_block(config: Config, net: Blocks) -> None:
    block, places = aligned_place(config), net.places[:-1]
    if block not in places:
        raise UserError(f"adaptation.block={block!r} is not one of {', '.join(places)}")
    trained = config.schedule.trainable(config.trainer.epochs - 1)
    leading = [name for name in net.names if net.places.index(name) <= net.places.index(block)]
    if hasattr(config.adaptation, "block") and not trained & set(leading):
        raise UserError(
            f"adaptation.block={block} comes out of blocks that stay frozen, so nothing can align it; thaw "
            f"{leading[-1]} with thaw=all"
        )


def _warn_of_few_steps(config: Config, images: int) -> None:
    """Say where the training ends before a method's losses of both domains begin to count."""
    assert config.source is not None
    begin = getattr(config.adaptation, "similarity_from", 0)
    steps = config.trainer.epochs * math.ceil(images / config.source.batch_size)
    if begin and steps <= begin:
        log.warning(
            "warning: all %d steps come before adaptation.similarity_from=%d, so that the task alone is learnt; "
            "set adaptation.similarity_from=%d, or more trainer.epochs", steps, begin, steps // 4,
        )  # fmt: skip


def _warn_of_other_averages(config: Config, net: Blocks) -> None:
    """Say where layers are trained with averages that are not the source's, which AdaBN's are then swapped for."""
    trained = config.schedule.trainable(config.trainer.epochs - 1)
    frozen = [name for name in net.names if name not in trained and averaging(net.block(name))]
    if config.optim.batch_norm == "frozen":
        why = "optim.batch_norm=frozen keeps those of the pretraining"
    elif frozen:
        why = f"{', '.join(frozen)} stay frozen with those of the pretraining"
    else:
        return
    log.warning(
        "warning: adaptation=%s puts the target's BatchNorm averages in the place of the source's, and %s; with "
        "optim.batch_norm=train thaw=all they are the source's", config.adaptation and config.adaptation.name, why,
    )  # fmt: skip


def prepare(config: Config, domains: DomainSources) -> AdaptationLearner:
    """Network, method and data as the config has them, without weights.

    Raises:
        UserError: they do not fit each other or the data.
    """
    assert config.source is not None
    assert config.adaptation is not None
    pool, ours, theirs = domains.target.pool, config.source, config.data
    with about_source(config.source, config.data):
        split = split_of(domains.source, ours, config.seed)
    target_split = unlabelled_split(
        len(pool), train_size=theirs.train_size, val_size=theirs.val_size, seed=config.seed
    )
    for group, part in (("source", split.val), ("data", target_split.val)):
        if config.adaptation.validator == "source_entropy" and not len(part):
            raise UserError(f"adaptation.validator=source_entropy needs validation images; {group} has none")
    net, backbone = build_model(config.model, len(pool.classes), config.seed)
    _check_block(config, net)
    kind, few = method_class(config.adaptation), int(getattr(config.adaptation, "target_labels", 0))
    if not pool.labelled and (kind.supervision == ALL or (few and kind.supervision != NONE)):
        raise UserError(
            f"adaptation={config.adaptation.name} learns from labels of the target, and its images have none"
        )
    known = target_split.train[:0]
    if kind.supervision == ALL:
        known = target_split.train
    elif kind.supervision != NONE and few:
        known = choose_labelled(pool.labels, target_split.train, few, pool.classes, config.seed)
    with about_source(config.source, config.data):
        source = IndexedDataModule(
            domains.source.pool.images, domains.source.pool.labels, split, ours, config.seed, SOURCE
        )
    hidden = hide_labels(pool.labels, known)
    target = IndexedDataModule(pool.images, hidden, target_split, theirs, config.seed, TARGET)
    data = PairedDataModule(source, target, known, unlabelled=kind.unlabelled)
    if kind.swaps_averages:
        _warn_of_other_averages(config, net)
    _warn_of_few_steps(config, len(split.train))
    method = build_method(config.adaptation.on(config.model.name), net, config.seed)
    return AdaptationLearner(net, backbone, method, data, known)
