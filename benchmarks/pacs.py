"""Adaptation on photos: the 12 pairs of PACS' four domains, each method beside source only on the same test images.

Each run is one command, `tlcl train +experiment=adapt_pacs`; what it answers is kept in a file below --out, so that
the same command goes on where it was stopped. Methods that a label-free choice suits are tested at the epoch it
chooses and at the last one; what they bring is the mean over the pairs, with an interval over the pairs.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Benchmark, archives, file_name, markdown, progress
from benchmarks.own_photos import right_answers
from tlcl.errors import TrainingError
from tlcl.reports.tables.spread import mean_std
from tlcl.statistics.paired import mean_difference
from tlcl.system.figures import points_spread, signed_interval
from tlcl.system.files import atomic_write_text

DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
PAIRS = tuple(permutations(DOMAINS, 2))
SEEDS = (0, 1, 2)
BASE = "source_only"
CHOSEN = "adaptation.validator=source_entropy trainer.select=best"
METHODS = {
    BASE: "", "adabn": "", "mmd": CHOSEN, "coral": CHOSEN, "dann": CHOSEN, "cdan": CHOSEN, "mcc": CHOSEN,
    "bnm": CHOSEN, "fine_tune": "adaptation.target_labels=3", "ccsa": "adaptation.target_labels=3",
    "target_oracle": "",
}  # fmt: skip
NETWORKS = {
    "lite0": "model=efficientnet_lite0",
    "resnet18": "model=resnet18 model.cut=layer3 model.weights=FILE",
}


@dataclass(frozen=True)
class Case:
    """One run."""

    network: str
    method: str
    pair: tuple[str, str]
    seed: int

    @property
    def file(self) -> str:
        return f"{file_name(' '.join((self.network, self.method, *self.pair, f'seed{self.seed}')))}.json"

    def typed(self, data: str, weights: str) -> str:
        """What is typed after `tlcl train`."""
        network = NETWORKS[self.network].replace("FILE", weights)
        return (
            f"+experiment=adapt_pacs data.root={data} source.domain={self.pair[0]} data.domain={self.pair[1]} "
            f"{network} adaptation={self.method} {METHODS[self.method]} seed={self.seed} logger=none"
        )


def cases(networks: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Case]:
    """A seed after the other, a method after the other, so that what is there early can be read."""
    for network in networks:
        for seed in seeds:
            for method in methods:
                for pair in PAIRS:
                    yield Case(network, method, pair, seed)


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Answers about the target's test images, as a string of 0 and 1, accuracies and seconds."""
    folder = options.out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    typed = case.typed(str((options.data / "pacs").resolve()), str(options.weights.resolve()))
    words = [*shlex.split(typed), f"run_dir={folder}", "trainer.progress=false"]
    command = [sys.executable, "-m", "tlcl.train", *words]
    began = time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise TrainingError(f"{shlex.join(command)} ended with exit code {ended.returncode}")
    seconds = time.perf_counter() - began
    summary, right = json.loads((folder / "summary.json").read_text()), right_answers(folder)
    shutil.rmtree(folder)
    last = summary["last_epoch"]
    return {
        "right": "".join("1" if one else "0" for one in right), "acc": summary["test_acc"],
        "last_acc": summary["test_acc"] if last is None else last["test_acc"],
        "source_acc": summary["source_test_acc"], "seconds": round(seconds, 1),
    }  # fmt: skip


Found = Mapping[Case, Mapping[str, Any]]


def table(found: Found, network: str, asked: Sequence[int]) -> str:
    """A row a method that has every pair: mean accuracy over the pairs, and points more than source only.

    The interval is Student's over the 12 pairs; those that share a domain are not independent, so that it is rather
    too narrow.
    """
    rows = []
    for method in METHODS:
        seeds = [seed for seed in asked if all(_has(found, network, one, seed) for one in (method, BASE))]
        if not seeds:
            continue
        last, chosen, seconds = (
            _by_pair(found, network, method, seeds, key) for key in ("last_acc", "acc", "seconds")
        )
        gain = mean_difference(_by_pair(found, network, BASE, seeds, "last_acc"), last)
        each = [float(np.mean(_by_pair(found, network, method, [seed], "last_acc"))) for seed in seeds]
        mean, spread = mean_std(each)
        rows.append((
            method, str(len(seeds)), points_spread(mean, spread),
            "" if method == BASE else signed_interval(gain.difference, gain.low, gain.high),
            f"{100 * np.mean(chosen):.1f}" if METHODS[method] == CHOSEN else "", f"{np.sum(seconds) / 60:.0f}",
        ))  # fmt: skip
    heading = (
        "method", "seeds", "last epoch, %", f"less {BASE} (95 %)", "chosen without labels, %",
        "minutes for 12 pairs",
    )  # fmt: skip
    return markdown(heading, rows) if rows else "No method has every pair yet."


def _has(found: Found, network: str, method: str, seed: int) -> bool:
    return all(Case(network, method, pair, seed) in found for pair in PAIRS)


def _by_pair(found: Found, network: str, method: str, seeds: Sequence[int], key: str) -> list[float]:
    """Means over the seeds, one a pair."""
    return [float(np.mean([found[Case(network, method, pair, seed)][key] for seed in seeds])) for pair in PAIRS]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder that holds pacs/, a tar a domain")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18's ImageNet weights up to layer3")
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/pacs"), help="what is measured is kept there")
    parser.add_argument("--minutes", type=float, default=1e9, help="no run is begun after so many")


def section(options: argparse.Namespace) -> str:
    options.out.mkdir(parents=True, exist_ok=True)
    began, found = time.monotonic(), {}
    for case in cases(options.network, options.methods, options.seeds):
        file = options.out / case.file
        if not file.is_file():
            if time.monotonic() - began > 60 * options.minutes:
                continue
            measured = measure(case, options)
            atomic_write_text(file, json.dumps(measured) + "\n")
            progress(f"{case}: {100 * measured['last_acc']:.1f} % in {measured['seconds']:.0f} s")
        found[case] = json.loads(file.read_text())
    return "\n\n".join(f"### {network}\n\n{table(found, network, options.seeds)}" for network in options.network)


def files(options: argparse.Namespace) -> Mapping[str, Path]:
    names = [f"pacs/{domain}.tar" for domain in DOMAINS]
    return {f"weights/{options.weights.name}": options.weights, **archives(options.data, names)}


BENCHMARK = Benchmark(
    "benchmarks.pacs", "Adaptation on PACS", __doc__, add_options, section, ("--minutes", "0.1"), files,
    lambda options: tuple(options.seeds),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
