"""`python -m benchmarks.networks --data FOLDER --weights FILE`: a new head on the frozen outputs of four networks.

EfficientNet-Lite0, 1 and 2 with the ImageNet weights of their packages, and ResNet-18 with those of FILE up to
layer3 (model.cut=layer3), on ants and bees, the four domains of PACS, and 10,000 images of CIFAR-10. Each is one
command of tlcl, whose penalty cross-validation chooses on the training images; each is compared with
EfficientNet-Lite0 on the same test images. What is measured is kept in the file of --records as soon as it is
known, so that a run that was stopped goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.common import Benchmark, archives, markdown, numbered_seeds, progress
from benchmarks.own_photos import right_answers
from benchmarks.own_photos_data import DOMAINS, SETS, Photos, cifar10, write
from tlcl.statistics.paired import together
from tlcl.system.figures import signed_interval

CIFAR = "CIFAR-10, 10,000 images"
FIRST = "EfficientNet-Lite0"
# All see the same pixels, also the EfficientNets, which were trained at 224, 240 and 260.
NETWORKS = {
    FIRST: ("model=timm", "model.arch=tf_efficientnet_lite0", "model.weights=pretrained"),
    "EfficientNet-Lite1": ("model=timm", "model.arch=tf_efficientnet_lite1", "model.weights=pretrained"),
    "EfficientNet-Lite2": ("model=timm", "model.arch=tf_efficientnet_lite2", "model.weights=pretrained"),
    "ResNet-18 up to layer3": ("model=resnet18", "model.cut=layer3"),
}
ARCHIVES = (
    "hymenoptera/train.tar", "hymenoptera/val.tar", "pacs/photo.tar", "pacs/art_painting.tar", "pacs/cartoon.tar",
    "pacs/sketch.tar", "cifar10/train.tar", "cifar10/test.tar",
)  # fmt: skip
HEAD = ("+experiment=own_images", "thaw=head_only", "logger=none", "keep=model")


class Case(NamedTuple):
    """Images to train and test on, and how they are read."""

    train: Path
    test: Path
    settings: tuple[str, ...]


def command(network: str, case: Case, seed: int, weights: Path, run_dir: Path) -> list[str]:
    """The arguments of tlcl."""
    chosen = list(NETWORKS[network])
    if "model.cut=layer3" in chosen:
        chosen.append(f"model.weights={weights}")
    return [
        "train", *HEAD, f"data.train={case.train}", f"data.test={case.test}", *case.settings, *chosen,
        "model.input_size=128", f"seed={seed}", f"run_dir={run_dir}",
    ]  # fmt: skip


def head_on(network: str, case: Case, seed: int, weights: Path, work: Path) -> dict[str, Any]:
    """Accuracy, which test images are right, and the seconds of the command's run."""
    run_dir = work / "run" / network.replace(" ", "_")
    program = [sys.executable, "-m", "tlcl", *command(network, case, seed, weights, run_dir)]
    environment = {**os.environ, "TLCL_CACHE": str(work / "cache")}
    process = subprocess.run(program, capture_output=True, text=True, env=environment)
    if process.returncode:
        raise RuntimeError(f"{network} failed:\n{process.stdout[-2000:]}\n{process.stderr[-2000:]}")
    summary = json.loads((run_dir / "summary.json").read_text("utf-8"))
    return {"accuracy": summary["test_acc"], "seconds": summary["seconds"], "right": right_answers(run_dir)}


def measure_split(photos: Photos | None, seed: int, options: argparse.Namespace, known: dict[str, Any]) -> None:
    """Every network on one split; without `photos` on CIFAR-10."""
    name = photos.name if photos else CIFAR
    missing = [network for network in NETWORKS if f"{name}/{seed}/{network}" not in known]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if photos is None:
            cifar = options.data / "cifar10"
            case = Case(cifar / "train.tar", cifar / "test.tar", ("data.size=32", "data.train_size=10000"))
        else:
            ours, theirs = photos.split(options.data, seed)
            case = Case(write(ours, work / "train"), write(theirs, work / "test"), ())
        for network in missing:
            key = f"{name}/{seed}/{network}"
            known[key] = head_on(network, case, seed, options.weights.absolute(), work)
            progress(f"  {key}: {100 * known[key]['accuracy']:.1f} %, {known[key]['seconds']:.0f} s")
            options.records.write_text(json.dumps(known))


def table(known: Mapping[str, Any], cases: Sequence[tuple[Photos, int]]) -> str:
    """Mean accuracy in % over the splits; the others' points more than the first network, on the same images.

    Each interval is of one cell alone; p is adjusted for all of them by Holm's procedure.
    """
    found = {
        (photos.name, network): [known[f"{photos.name}/{seed}/{network}"] for seed in range(splits)]
        for photos, splits in cases for network in NETWORKS
    }  # fmt: skip

    def rights(name: str, network: str) -> list[list[bool]]:
        return [run["right"] for run in found[name, network]]

    pairs = together({
        (photos.name, network): photos.difference(rights(photos.name, FIRST), rights(photos.name, network))
        for photos, _ in cases for network in NETWORKS if network != FIRST
    })  # fmt: skip
    rows = []
    for photos, splits in cases:
        cells = []
        for network in NETWORKS:
            accuracy = f"{100 * mean(run['accuracy'] for run in found[photos.name, network]):.1f}"
            pair = pairs.get((photos.name, network))
            if pair is not None:
                told = signed_interval(pair.difference, pair.low, pair.high)
                accuracy += f"; {told}, p {pair.p:.2g}"
            cells.append(accuracy)
        rows.append([photos.name, str(splits), *cells])
    return markdown(["images", "splits", *NETWORKS], rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds hymenoptera, pacs and cifar10")
    parser.add_argument(
        "--weights", type=Path, default=Path("resnet18.safetensors"), help="ResNet-18, up to layer3 at least"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many splits of the photos")
    parser.add_argument("--only", nargs="+", help="names of the sets (default: all)")
    parser.add_argument("--records", type=Path, default=Path("networks.json"), help="what is known so far")


def section(options: argparse.Namespace) -> str:
    known = json.loads(options.records.read_text()) if options.records.is_file() else {}
    chosen = [photos for photos in (SETS[0], *DOMAINS) if not options.only or photos.name in options.only]
    for seed in range(options.seeds):
        for photos in chosen:
            measure_split(photos, seed, options, known)
    cases = [(photos, options.seeds) for photos in chosen]
    if not options.only or CIFAR in options.only:
        measure_split(None, 0, options, known)
        cases.append((Photos(CIFAR, cifar10), 1))
    return f"{table(known, cases)}\n"


def files(options: argparse.Namespace) -> Mapping[str, Path]:
    return {f"weights/{options.weights.name}": options.weights, **archives(options.data, ARCHIVES)}


BENCHMARK = Benchmark(
    "benchmarks.networks", "Networks beside each other", __doc__, add_options, section,
    ("--seeds", "1", "--only", "ants and bees"), files, numbered_seeds,
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
