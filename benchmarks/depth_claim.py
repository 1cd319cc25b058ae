"""The claim that more labels, and a target farther from the source, make it worth retraining more layers.

Networks pretrained on ImageNet, to photos, art paintings, cartoons, sketches, CIFAR-10, ants and bees; 50 labels to
all of them; three seeds, one recipe (`+experiment=how_deep`). What is tested was fixed before: of the gain over the
head alone, for each depth, Page's trend test with the labels (each set a row) and a permutation test with the
distance (of the order of the sets), adjusted for their number by Holm's procedure.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cases import add_case_options, keep, measured, named, need_weights, read, write_whole
from benchmarks.common import Benchmark, progress
from benchmarks.depth_cases import (
    NETWORKS,
    PIXELS,
    SETS,
    Case,
    config_of,
    files_of,
    labels_there,
    measured_cases,
    pool,
    right,
    run,
)
from benchmarks.figure import Cell, Figure, Table, Value
from tlcl.adaptation.distance import mmd_distance
from tlcl.adaptation.evaluate import responses
from tlcl.data.image_tensors import ImageTensors
from tlcl.data.sources.folder_images import Decoding, load_folder
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.pretrain import start_weights
from tlcl.models.blocks import FEATURES
from tlcl.models.build import build_model
from tlcl.models.weights import file_sha256
from tlcl.statistics.paired import Difference, Gain, holm, mean_gain, paired_difference
from tlcl.statistics.trends import rises_along, rises_down

KEPT = "depth_claim.jsonl"
DEPTHS = [1, 2, "all"]
LABELS, SEEDS, MOST = (50, 200, 800), (0, 1, 2), 2500
IMAGES = ("ants and bees", "PACS photo", "PACS art painting", "PACS cartoon", "PACS sketch", "CIFAR-10")
FIGURES = {
    "ResNet-18 up to layer3": "depth_claim_resnet18_layer3",
    "EfficientNet-Lite0": "depth_claim_efficientnet_lite0",
}
SETTINGS = {"1": "last block", "2": "last two", "all": "everything"}
DISTANCE_IMAGES = 1000


def labels_of(data: Path, name: str, cache_dir: str) -> list[int]:
    """The numbers of labels of a set, the last one all there are, 2,500 at most."""
    there = min(MOST, labels_there(data, name, cache_dir))
    return [*(number for number in LABELS if number < 0.9 * there), there]


def cases(data: Path, networks: Sequence[str], cache_dir: str) -> list[Case]:
    """All of them, a seed after the other, so that what is there early has every set."""
    return [
        Case(network, name, labels, seed)
        for network in networks for seed in SEEDS for name in IMAGES for labels in labels_of(data, name, cache_dir)
    ]  # fmt: skip


def measure_distances(data: Path, weights: Path, network: str, kept: Path) -> dict[str, float]:
    """The MMD of each set's features to those of ImageNet images, on the network as it was pretrained."""
    known = read(kept).get(distances(network))
    if known is not None:
        return dict(known["mmd"])
    config = config_of(Case(network, IMAGES[0], 0, 0), weights)
    device = choose_device(config)
    net, backbone = build_model(config.model, 2, 0)
    start_weights(config, net, backbone)
    names = sorted((data / "imagenet_samples").glob("*.tar*"))
    source = load_folder(names[0], Decoding(PIXELS, 3, "error", Path(config.cache_dir))).data
    ours = responses(net, _some(source).images, FEATURES, device, "32-true")
    found = {}
    for name in IMAGES:
        images = _some(pool(data, name, config.cache_dir))
        theirs = responses(net, images.images, FEATURES, device, "32-true")
        found[name] = mmd_distance(ours.vectors.numpy(), theirs.vectors.numpy())
        progress(f"distance of {name}: {found[name]:.3f}")
    keep(kept, distances(network), {"mmd": found})
    return found


def distances(network: str) -> str:
    return f"{network}, distances"


def _some(images: ImageTensors) -> ImageTensors:
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:DISTANCE_IMAGES]
    return replace(images, images=images.images[chosen], labels=images.labels[chosen], names=())


def deepest(found: dict[str, Any], setting: str) -> str:
    return str(len(found["blocks"]) - 1) if setting == "all" else setting


def pair(found: Sequence[dict[str, Any]], setting: str) -> Difference:
    """The gain over the head alone, of all seeds of one set and number of labels."""
    heads = np.array([right(one, "head") for one in found])
    return paired_difference(heads, np.array([right(one, deepest(one, setting)) for one in found]))


def gain(one: dict[str, Any], setting: str) -> float:
    return float(one["settings"][deepest(one, setting)]["acc"] - one["settings"]["head"]["acc"])


def trends(found: Sequence[dict[str, Any]], far: dict[str, float]) -> list[dict[str, Any]]:
    """Tests of both halves of the claim, for each setting, with p adjusted for their number.

    Seeds of one set are no replications of it: gains are means over them. With the labels each set is a row of
    Page's test. With the distance there is one order of the sets: p is the share of all orders in which the gain at
    each number of labels rises as steadily (mean rank correlation).
    """
    trended: list[dict[str, Any]] = []
    order = [name for name in sorted(far, key=lambda name: far[name]) if _whole(found, name)]
    sizes = {name: sorted({one["labels"] for one in found if one["images"] == name}) for name in order}
    for setting, words in SETTINGS.items():
        gains = np.array([[_mean_gain(found, name, size, setting) for size in sizes[name]] for name in order])
        if len(order) < 3:
            continue
        rise = float((gains[:, -1] - gains[:, 0]).mean())
        labels = {"with": "the number of labels", "rows": len(order), "p": rises_along(gains), "rise": rise}
        trended.append({"setting": words, **labels})
        rise, p = float((gains[-1] - gains[0]).mean()), rises_down(gains)
        trended.append({"setting": words, "with": "the distance", "rows": len(order), "p": p, "rise": rise})
    for test, p in zip(trended, holm([test["p"] for test in trended]), strict=True):
        test["holm"] = float(p)
    return trended


def _whole(found: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether a set has every number of labels with every seed."""
    mine = {(one["labels"], one["seed"]) for one in found if one["images"] == name}
    return len({labels for labels, _ in mine}) == len(LABELS) + 1 and len(mine) == (len(LABELS) + 1) * len(SEEDS)


def _mean_gain(found: Sequence[dict[str, Any]], name: str, size: int, setting: str) -> float:
    mine = [one for one in found if (one["images"], one["labels"]) == (name, size)]
    return float(np.mean([gain(one, setting) for one in mine]))


def gains_table(found: Sequence[dict[str, Any]], far: dict[str, float]) -> Table:
    """A row a set and number of labels, nearest set first."""
    lines: list[tuple[Cell, ...]] = []
    for name in sorted(far, key=lambda name: far[name]):
        for size in sorted({one["labels"] for one in found if one["images"] == name}):
            mine = [one for one in found if (one["images"], one["labels"]) == (name, size)]
            head = Value(float(np.mean([one["settings"]["head"]["acc"] for one in mine])))
            pairs = [pair(mine, setting) for setting in SETTINGS]
            cells = [Value(one.difference, "signed", one.low, one.high) for one in pairs]
            lines.append((name, f"{far[name]:.2f}", f"{size:,}", str(len(mine)), head, *cells))
    return Table(("images", "MMD", "labels", "seeds", "head alone, %", *SETTINGS.values()), tuple(lines))


OVER = {"1": None, "2": None, "all": None, "2 less 1": "1", "all less 1": "1"}


def over_sizes(found: Sequence[dict[str, Any]], far: dict[str, float]) -> list[tuple[str, str, Gain]]:
    """Of each set that is whole, gains as means over the numbers of labels: set, what less what, gain.

    A seed has the same test images at every number of labels, so that these are no images of their own.
    """
    rows = []
    for name in sorted(far, key=lambda name: far[name]):
        mine = [one for one in found if one["images"] == name]
        seeds = sorted({one["seed"] for one in mine})
        sizes = sorted({one["labels"] for one in mine})
        if len(seeds) < len(SEEDS) or len(mine) < len(seeds) * len(sizes):
            continue
        for what, base in OVER.items():
            setting = what.split()[0]
            gained = [
                [right(one, deepest(one, setting)).astype(float) - right(one, base or "head")
                 for one in mine if one["seed"] == seed]
                for seed in seeds
            ]  # fmt: skip
            rows.append((name, what, mean_gain(np.array(gained).mean(1))))
    return rows


def over_sizes_table(rows: Sequence[tuple[str, str, Gain]]) -> Table:
    """A row a set; p with all cells tested together."""
    adjusted = holm([gain.p for _, _, gain in rows])
    titles = [
        f"{SETTINGS[what.split()[0]]} less {'the head' if base is None else SETTINGS[base]}"
        for what, base in OVER.items()
    ]
    cells: dict[str, list[Cell]] = {}
    for (name, _, gain), p in zip(rows, adjusted, strict=True):
        line = cells.setdefault(name, [])
        line += [Value(gain.difference, "signed", gain.low, gain.high), f"{p:.2g}"]
    columns = ("images", *(title for one in titles for title in (one, "p, Holm")))
    return Table(columns, tuple((name, *line) for name, line in cells.items()))


def trends_table(trended: Sequence[dict[str, Any]]) -> Table:
    rows = tuple(
        (f"{one['setting']}, with {one['with']}", str(one["rows"]), Value(one["rise"], "signed"),
         f"{one['p']:.2g}", f"{one['holm']:.2g}")
        for one in trended
    )  # fmt: skip
    return Table(("gain over the head alone", "rows", "last less first, points", "p", "p, Holm"), rows)


def figure(network: str, options: argparse.Namespace) -> Figure | None:
    """What is measured of one network so far, for the register."""
    cache_dir = config_of(Case(network, IMAGES[0], 0, 0), options.weights).cache_dir
    plan = cases(options.data, [network], cache_dir)
    wanted = [case for case in plan if case.seed in options.seeds]
    far = measure_distances(options.data, options.weights, network, options.kept)
    left = (options.until - time.monotonic()) / 60
    run(wanted, options.data, options.weights, options.kept, DEPTHS, left)
    found = measured_cases(options.kept, plan)
    if not found:
        return None
    archives = {path for name in IMAGES for path in SETS[name].archives} | {"imagenet_samples/samples.tar"}
    digests = {name: file_sha256(path) for name, path in files_of(options).items()}
    weights = {f"weights/{options.weights.name}"} if "ResNet" in network else set()
    return Figure(
        FIGURES[network], (f"python -m benchmarks.depth_claim --data data --weights FILE --network '{network}'",),
        tuple(sorted({one["seed"] for one in found})), {name: digests[name] for name in sorted(archives)},
        {name: digests[name] for name in weights}, measured=measured(found),
        parts=(f"{len(found)} of {len(plan)} cases.", gains_table(found, far), trends_table(trends(found, far)),
               over_sizes_table(over_sizes(found, far))),
        certify={"module": "benchmarks.depth_claim", "cases": KEPT, "of": f"{network}, ", "exact": True},
    )  # fmt: skip


def measure_only(options: argparse.Namespace) -> str:
    """The cases of --only."""
    cache_dir = config_of(Case("EfficientNet-Lite0", IMAGES[0], 0, 0), Path()).cache_dir
    wanted = named(cases(options.data, list(NETWORKS), cache_dir), options.only)
    need_weights(options, any("ResNet" in case.network for case in wanted))
    run(wanted, options.data, options.weights, options.kept, DEPTHS, options.minutes)
    return f"Measured: {', '.join(options.only)}."


def add_options(parser: argparse.ArgumentParser) -> None:
    add_case_options(parser, KEPT)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), choices=SEEDS, help="these alone")


def section(options: argparse.Namespace) -> str:
    need_weights(options, any("ResNet" in network for network in options.network) and not options.only)
    if options.only:
        return measure_only(options)
    options.until, parts = time.monotonic() + 60 * options.minutes, []
    for network in options.network:
        one = figure(network, options)
        if one is not None:
            write_whole(one, options.kept)
        parts += [f"### {network}", "No case yet." if one is None else one.text()]
    return "\n\n".join(parts)


BENCHMARK = Benchmark(
    "benchmarks.depth_claim", "More labels, farther targets, more layers?", __doc__, add_options, section, ()
)

if __name__ == "__main__":
    BENCHMARK.main()
