"""How far two domains are apart for a network, and how well it suits the target: what `tlcl distance` prints."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tlcl.adaptation.distance import leep, logme, mmd_distance, proxy_a_distance
from tlcl.adaptation.evaluate import Responses, responses
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.config.schema import Config
from tlcl.data.content_order import content_order
from tlcl.data.image_tensors import ImageTensors
from tlcl.data.sources.folder_images import Decoding, has_class_folders, load_folder, load_unlabelled
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError
from tlcl.jobs.finished import load_run
from tlcl.jobs.pretrain import pretrained_on_letters
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.system.figures import counted

EMBEDDED = ("digits", "letters", "rendered_digits")
FIGURES = {  # key -> (name, how to read it)
    "a_distance": ("proxy A-distance", "0 alike .. 2 apart"),
    "mmd": ("MMD", "0 alike .. 1.41 apart"),
    "leep": ("LEEP", "nats, 0 best"),
    "logme": ("LogME", "nats, larger is better"),
}


class Model(NamedTuple):
    """A network whose head has classes of its own, for LEEP."""

    net: Blocks
    name: str


def load_domain(name: str, size: int, cache: Path) -> ImageTensors:
    """The images that `name` stands for.

    Args:
        size: to which a folder's images are resized; the embedded sets stay as they are.

    Raises:
        UserError: neither an embedded set nor a folder or archive with readable images.
    """
    if name in EMBEDDED:
        return load_source(GROUPS["data"][name].keys(source=name), str(cache)).pool
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"{name} is neither one of {', '.join(EMBEDDED)} nor a folder or archive of images")
    decoding = Decoding(size, 3, "error", cache)
    if not has_class_folders(path, cache):
        return load_unlabelled(path, decoding, ("known", "to nobody")).data
    return load_folder(path, decoding).data


def load_model(name: str, config: Config) -> Model:
    """`letters` (pretrained now if it is not there), `imagenet`, or a run directory.

    Raises:
        UserError: no finished run, or one whose answers do not come from its network's head alone.
    """
    if name == "imagenet":
        chosen = parse_config(composed_config(["model=efficientnet_lite0", "model.weights=imagenet"]))
        net, backbone = build_model(chosen.model, 1000, chosen.seed)
        state = backbone.imagenet()
        net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
        return Model(net, "efficientnet_lite0 with ImageNet weights")
    path = pretrained_on_letters(config) if name == "letters" else Path(name).expanduser()
    network, _, trained = load_run(path)
    if not isinstance(network, Blocks):
        raise UserError(f"--model={name} classifies by its continual method, not by its head; give another run")
    return Model(network, f"{trained.model.title} of {name}")


def some(images: ImageTensors, count: int, seed: int) -> ImageTensors:
    """At most `count` images, drawn by their pixels and `seed`: the same whatever their names and order."""
    chosen = content_order(images.images, seed, "distance")[:count]
    return ImageTensors(images.images[chosen], images.labels[chosen], images.classes)


def distances(
    source: Responses, target: Responses, labels: torch.Tensor | None, seed: int
) -> dict[str, float | None]:
    """The figures of `FIGURES`.

    Args:
        labels: the target's classes (M,); None: it has none, nor figures that need them.
        seed: of the classifier's halves.
    """
    ours, theirs = source.vectors.numpy(), target.vectors.numpy()
    return {
        "a_distance": proxy_a_distance(ours, theirs, seed),
        "mmd": mmd_distance(ours, theirs),
        "leep": None if labels is None else leep(target.probabilities.numpy(), labels.numpy()),
        "logme": None if labels is None else logme(theirs, labels.numpy()),
    }


def _check_block(block: str, net: Blocks) -> None:
    if block not in net.places[:-1]:
        raise UserError(f"--block={block} is not one of {', '.join(net.places[:-1])}")


def measure(
    source: str,
    target: str,
    *,
    model: str = "letters",
    block: str = "features",
    images: int = 1000,
    size: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """Load, run the network over both domains, and compute; what the command prints.

    Args:
        source, target: see `load_domain`; model: see `load_model`.
        block: whose outputs are compared.
        images: of each domain, drawn by their pixels and `seed`.
        size: to which a folder's images are resized.

    Raises:
        UserError: see `load_domain`, `load_model`; an unknown block; fewer than two images.
    """
    config = parse_config(composed_config(["logger=none", f"trainer.progress={sys.stderr.isatty()}"]))
    cache = Path(config.cache_dir)
    domains = [some(load_domain(name, size, cache), images, seed) for name in (source, target)]
    if model == "letters":  # before it is pretrained, which takes a minute
        _check_block(block, build_model(config.model, 2, config.seed)[0])
    network = load_model(model, config)
    _check_block(block, network.net)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bars = ["source", "target"] if sys.stderr.isatty() else [None, None]
    answers = [
        responses(network.net, domain.images, block, device, "32-true", progress=bar)
        for domain, bar in zip(domains, bars, strict=True)
    ]
    labels = domains[1].labels if domains[1].labelled else None
    return {
        "source": source,
        "target": target,
        "source_images": len(domains[0]),
        "target_images": len(domains[1]),
        "target_classes": len(domains[1].classes) if labels is not None else None,
        "model": network.name,
        "block": block,
        "seed": seed,
        **distances(answers[0], answers[1], labels, seed),
    }


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    classes = result["target_classes"]
    of = "without labels" if classes is None else f"of {counted(classes, 'class', 'classes')}"
    lines = [
        f"source: {result['source']}, {counted(result['source_images'], 'image')}",
        f"target: {result['target']}, {counted(result['target_images'], 'image')} {of}",
        f"network: {result['model']}, outputs of {result['block']}",
        "",
    ]
    for key, (name, meaning) in FIGURES.items():
        figure = "       –" if result[key] is None else f"{result[key]:8.3f}"
        lines.append(f"{name:<17} {figure}   {meaning}")
    return "\n".join(lines)
