"""`python -m benchmarks.own_photos --data FOLDER`: a user's own photos, one command beside what people write today.

Four data sets (ants and bees, PACS photo, 1,000 images of CIFAR-10, 20 classes of Tiny-ImageNet), five splits, the
same network, weights and input size: `tlcl train +experiment=own_images`, ten lines of timm and scikit-learn, full
fine-tuning in a plain loop, and finetuning-scheduler. Each is a process of its own, timed from its start to its end
with all imports; for the first answer, to the line that says it. In a split they take turns. What is measured is
kept in the file of --records as soon as it is known, so that a run that was stopped goes on; the machine has to be
idle.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from benchmarks.common import Benchmark, archives, markdown, numbered_seeds, progress
from benchmarks.own_photos_data import SETS, Photos, write
from tlcl.models.efficientnet_lite0 import PACKAGE
from tlcl.statistics.paired import Difference, together
from tlcl.system.figures import signed_interval

SIZE = 128
ARCHIVES = (
    "hymenoptera/train.tar", "hymenoptera/val.tar", "pacs/photo.tar", "cifar10/train.tar",
    "tiny_imagenet32/train.tar.gz",
)  # fmt: skip
PEERS = {"ten lines": "ten_lines", "full fine-tuning": "full_finetuning", "finetuning-scheduler": "scheduled"}
FIRST, FINAL = "tlcl, first answer", "tlcl, final answer"


@dataclass(frozen=True)
class Place:
    """Where one split lies: folders to train and test on, the network's weights, and a folder to work in."""

    train: Path
    test: Path
    weights: Path
    work: Path
    seed: int


def peer(name: str, place: Place) -> dict[str, Any]:
    """Seconds, accuracy and which test images are right."""
    arguments = [str(place.train), str(place.test), str(place.weights), str(SIZE), str(place.seed)]
    began = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.peers.{PEERS[name]}", *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{name} failed:\n{process.stderr[-2000:]}")
    return {"seconds": seconds, **json.loads(process.stdout.splitlines()[-1])}


def right_answers(run_dir: Path) -> list[bool]:
    """Which test images a finished run is right on."""
    with np.load(run_dir / "test_predictions.npz") as stored:
        found: list[bool] = (stored["probabilities"].argmax(1) == stored["labels"]).tolist()
    return found


def own(place: Place, extra: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of the first and of the final answer."""
    run_dir = place.work / "run"
    command = [
        sys.executable, "-m", "tlcl", "train", "+experiment=own_images", f"data.train={place.train}",
        f"data.test={place.test}", f"seed={place.seed}", "logger=none", f"run_dir={run_dir}", *extra,
    ]  # fmt: skip
    environment = {**os.environ, "TLCL_CACHE": str(place.work / "cache")}  # empty: nothing is known from before
    began, first = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("first answer"):
                first = time.perf_counter() - began
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"tlcl failed:\n{''.join(lines[-30:])}")
    summary = json.loads((run_dir / "summary.json").read_text("utf-8"))
    deeper = summary.get("deeper", {})
    final = {
        "seconds": seconds, "accuracy": summary["test_acc"], "right": right_answers(run_dir),
        "answer": summary["answer"], "held_out": [deeper.get("head_acc"), deeper.get("deeper_acc")],
    }  # fmt: skip
    return {"seconds": first, "accuracy": summary["first_answer"]["test_acc"]}, final


def measure_split(photos: Photos, seed: int, options: argparse.Namespace, weights: Path, known: dict) -> None:
    """Every program on one split, unless its figures are known already."""
    missing = [name for name in (*PEERS, FINAL) if f"{photos.name}/{seed}/{name}" not in known]
    wanted = [name for name in missing if name in options.only]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ours, theirs = photos.split(options.data, seed)
        place = Place(write(ours, work / "train"), write(theirs, work / "test"), weights, work, seed)
        for name in wanted:
            key = f"{photos.name}/{seed}"
            if name == FINAL:
                known[f"{key}/{FIRST}"], known[f"{key}/{FINAL}"] = own(place, options.override)
            else:
                known[f"{key}/{name}"] = peer(name, place)
            found = known[f"{key}/{name}"]
            progress(f"  {key}/{name}: {100 * found['accuracy']:.1f} %, {found['seconds']:.1f} s")
            options.records.write_text(json.dumps(known, indent=1))


def table(known: Mapping[str, Any], seeds: Sequence[int], sets: Sequence[Photos]) -> str:
    """Mean accuracy and median seconds over the splits; ratios within a split, of which the median."""
    rows = []
    for photos in sets:
        for name in (FIRST, FINAL, *PEERS):
            found = {seed: known.get(f"{photos.name}/{seed}/{name}") for seed in seeds}
            done = {seed: one for seed, one in found.items() if one}
            if not done:
                continue
            ratios = []
            for peer_name in ("ten lines", "full fine-tuning"):
                pairs = [(one, known.get(f"{photos.name}/{seed}/{peer_name}")) for seed, one in done.items()]
                times = [one["seconds"] / other["seconds"] for one, other in pairs if other]
                ratios.append(f"{median(times):.2f}" if times else "")
            accuracies = [100 * one["accuracy"] for one in done.values()]
            rows.append([
                photos.name, name, str(len(done)), f"{mean(accuracies):.1f}",
                f"{min(accuracies):.1f}–{max(accuracies):.1f}",
                f"{median(one['seconds'] for one in done.values()):.1f}", *ratios,
            ])  # fmt: skip
    header = ["images", "program", "splits", "mean %", "range %", "s median", "s / ten lines", "s / full"]
    return markdown(header, rows, 2)


def paired(known: Mapping[str, Any], seeds: Sequence[int], sets: Sequence[Photos]) -> str:
    """The final answer less each program, in the splits that both have, with p of all comparisons together."""
    pairs: dict[tuple[str, str], Difference] = {}
    for photos in sets:
        for name in PEERS:
            keys = [[f"{photos.name}/{seed}/{which}" for which in (name, FINAL)] for seed in seeds]
            both = [[known[key]["right"] for key in two] for two in keys if all(key in known for key in two)]
            if both:
                pairs[photos.name, name] = photos.difference(*zip(*both, strict=True))
    rows = [
        [photos, name, str(pair.seeds), f"{pair.images:,}", signed_interval(pair.difference, pair.low, pair.high),
         f"{pair.p:.2g}"]
        for (photos, name), pair in together(pairs).items()
    ]  # fmt: skip
    header = ["images", "final answer less", "splits", "test images of each", "points (95 %)", "p, Holm"]
    return markdown(header, rows, 2)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds hymenoptera, pacs, ...")
    parser.add_argument("--seeds", type=int, default=5, help="how many splits")
    parser.add_argument("--sets", type=int, nargs="+", default=[0, 1, 2, 3], help="which of the four data sets")
    parser.add_argument("--only", nargs="+", choices=[*PEERS, FINAL], default=[*PEERS, FINAL])
    parser.add_argument("--records", type=Path, default=Path("own_photos.json"), help="what is known so far")
    parser.add_argument("--override", nargs="*", default=[], help="more arguments for tlcl")


def section(options: argparse.Namespace) -> str:
    known = json.loads(options.records.read_text()) if options.records.is_file() else {}
    sets, seeds = [SETS[index] for index in options.sets], range(options.seeds)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "tf_efficientnet_lite0.pth"
        torch.save(PACKAGE.weights(), weights)
        for seed in seeds:
            for photos in sets:
                measure_split(photos, seed, options, weights, known)
    return f"{table(known, seeds, sets)}\n\n{paired(known, seeds, sets)}\n"


def files(options: argparse.Namespace) -> Mapping[str, Path]:
    return archives(options.data, ARCHIVES)


BENCHMARK = Benchmark(
    "benchmarks.own_photos", "A user's own photos", __doc__, add_options, section, ("--seeds", "1", "--sets", "0"),
    files, numbered_seeds,
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
