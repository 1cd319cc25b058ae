"""Adaptation on photos: the 12 pairs of PACS' four domains, each method beside source only on the same test images.

Each run is one command, `tlcl train +experiment=adapt_pacs`; what it answers is kept, so that the same command goes
on where it was stopped. Methods that a label-free choice suits are tested at the epoch it
chooses and at the last one; what they bring is the mean over the pairs, with an interval over the pairs.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import (
    add_case_options,
    answers,
    go_on,
    measured,
    named,
    need_weights,
    read,
    rights,
    write_own,
)
from benchmarks.common import Benchmark
from benchmarks.figure import Cell, Figure, Table, Value
from benchmarks.own_photos import right_answers
from tlcl.errors import TrainingError
from tlcl.models.weights import file_sha256
from tlcl.reports.tables.spread import mean_std
from tlcl.statistics.paired import Difference, MeanDifference, holm, mean_difference, paired_difference, together

KEPT = "pacs.jsonl"
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
PAIRS = tuple(permutations(DOMAINS, 2))
TO = "-to-"
SHOWN = ("photo", "sketch")  # the pair that has a table of its own
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
    def name(self) -> str:
        return f"{self.network}, {self.method}, {self.pair[0]} to {self.pair[1]}, seed {self.seed}"

    def typed(self, data: str, weights: str) -> str:
        """What is typed after `tlcl train`."""
        network = NETWORKS[self.network].replace("FILE", weights)
        return (
            f"+experiment=adapt_pacs data.root={data} source.domain={self.pair[0]} data.domain={self.pair[1]} "
            f"{network} adaptation={self.method} {METHODS[self.method]} seed={self.seed} logger=none"
        )


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """A seed after the other, a method after the other, so that what is there early can be read."""
    for network in options.network:
        for seed in options.seeds:
            for method in options.methods:
                for pair in PAIRS:
                    if TO.join(pair) in options.pairs:
                        yield Case(network, method, pair, seed)


def planned() -> list[Case]:
    """Every case there is."""
    every = argparse.Namespace(
        network=list(NETWORKS), seeds=SEEDS, methods=list(METHODS), pairs=[TO.join(pair) for pair in PAIRS]
    )
    return list(cases(every))


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Answers about the target's test images, accuracies and seconds."""
    weights = "" if options.weights is None else str(options.weights.resolve())
    typed = case.typed(str((options.data / "pacs").resolve()), weights)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "run")
        words = [*shlex.split(typed), f"run_dir={folder}", "trainer.progress=false"]
        command = [sys.executable, "-m", "tlcl.train", *words]
        began = time.perf_counter()
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if ended.returncode:
            raise TrainingError(f"{shlex.join(command)} ended with exit code {ended.returncode}")
        seconds = time.perf_counter() - began
        summary, right = json.loads((folder / "summary.json").read_text()), right_answers(folder)
    last = summary["last_epoch"]
    return {
        "right": answers(right), "tested": len(right), "acc": summary["test_acc"],
        "last_acc": summary["test_acc"] if last is None else last["test_acc"],
        "source_acc": summary["source_test_acc"], "seconds": round(seconds, 1),
    }  # fmt: skip


Found = Mapping[str, Mapping[str, Any]]


def table(found: Found, network: str, asked: Sequence[int]) -> Table:
    """A row a method that has every pair: mean accuracy over the pairs, and points more than source only.

    The interval is Student's over the 12 pairs, of one row alone; p is adjusted for their number. Pairs that share
    a domain are not independent, so that both are rather too sure.
    """
    gains: dict[str, MeanDifference] = {}
    rows: list[tuple[str, tuple[Cell, ...], tuple[Cell, ...]]] = []
    for method in METHODS:
        seeds = [seed for seed in asked if all(_has(found, network, one, seed) for one in (method, BASE))]
        if not seeds:
            continue
        last, chosen, seconds = (
            _by_pair(found, network, method, seeds, key) for key in ("last_acc", "acc", "seconds")
        )
        if method != BASE:
            gains[method] = mean_difference(_by_pair(found, network, BASE, seeds, "last_acc"), last)
        each = [float(np.mean(_by_pair(found, network, method, [seed], "last_acc"))) for seed in seeds]
        without_labels = Value(float(np.mean(chosen))) if METHODS[method] == CHOSEN else ""
        took = Value(float(np.sum(seconds)) / len(seeds), "seconds")
        rows.append((method, (method, str(len(seeds)), _over_seeds(each)), (without_labels, took)))
    adjusted = dict(zip(gains, holm([gain.p for gain in gains.values()]), strict=True))
    told: dict[str, tuple[Cell, Cell]] = {
        method: (Value(gain.difference, "signed", gain.low, gain.high), f"{adjusted[method]:.2g}")
        for method, gain in gains.items()
    }
    heading = (
        "method", "seeds", "last epoch, %", f"less {BASE} (95 %)", "p, Holm", "chosen without labels, %",
        "time for 12 pairs",
    )  # fmt: skip
    return Table(heading, tuple((*first, *told.get(method, ("", "")), *rest) for method, first, rest in rows))


def pair_table(found: Found, network: str, pair: tuple[str, str], asked: Sequence[int]) -> Table:
    """Of one pair: a row a method; points more than source only on the same test images, at the tested epoch.

    Each interval is of one row alone; p is adjusted for their number.
    """
    rows: list[tuple[Cell, ...]] = []
    gains: dict[str, Difference] = {}
    for method in METHODS:
        mine, base = ([Case(network, one, pair, seed).name for seed in asked] for one in (method, BASE))
        if not mine or not all(name in found for name in (*mine, *base)):
            continue
        last, tested = (_over_seeds([found[name][key] for name in mine]) for key in ("last_acc", "acc"))
        right, first = (np.array([_right(found[name]) for name in names]) for names in (mine, base))
        rows.append((method, last, tested))
        if method != BASE:
            gains[method] = paired_difference(first, right)
    adjusted = together(gains)
    told: dict[str, tuple[Cell, Cell]] = {
        method: (Value(gain.difference, "signed", gain.low, gain.high), f"{adjusted[method].p:.2g}")
        for method, gain in gains.items()
    }
    columns = ("method", "last epoch, %", "tested epoch, %", f"less {BASE} (95 %)", "p, Holm")
    return Table(columns, tuple((*row, *told.get(str(row[0]), ("", ""))) for row in rows))


def _over_seeds(values: Sequence[float]) -> Value:
    return Value(float(np.mean(values)), spread=mean_std(values)[1])


def _right(one: Mapping[str, Any]) -> np.ndarray:
    return rights(one["right"], one["tested"])


def _has(found: Found, network: str, method: str, seed: int) -> bool:
    return all(Case(network, method, pair, seed).name in found for pair in PAIRS)


def _by_pair(found: Found, network: str, method: str, seeds: Sequence[int], key: str) -> list[float]:
    """Means over the seeds, one a pair."""
    return [
        float(np.mean([found[Case(network, method, pair, seed).name][key] for seed in seeds])) for pair in PAIRS
    ]


def figure(network: str, found: Found, options: argparse.Namespace) -> Figure:
    """What is measured of one network so far, for the register."""
    mine = [one for name, one in found.items() if name.startswith(f"{network}, ")]
    seeds = tuple(seed for seed in options.seeds if Case(network, BASE, SHOWN, seed).name in found)
    tables = (table(found, network, seeds), pair_table(found, network, SHOWN, seeds))
    names = [f"pacs/{domain}.tar" for domain in DOMAINS]
    given = [options.weights] if "FILE" in NETWORKS[network] else []
    weights = {f"weights/{path.name}": file_sha256(path) for path in given}
    return Figure(
        f"adaptation_pacs_{network}",
        (f"python -m benchmarks.pacs --data data --weights FILE --network {network}",
         f"tlcl train {Case(network, 'mmd', SHOWN, 0).typed('pacs', 'FILE')}"),
        seeds, {name: file_sha256(options.data / name) for name in names}, weights,
        measured=measured(mine) if mine else {},
        parts=tuple(one for one in tables if len(one.rows) > 1),
        certify={"module": "benchmarks.pacs", "cases": KEPT, "of": f"{network}, ", "exact": True},
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    add_case_options(parser, KEPT)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--pairs", nargs="+", default=[TO.join(pair) for pair in PAIRS], help="these alone")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))


def section(options: argparse.Namespace) -> str:
    wanted = list(cases(options)) if options.only is None else named(planned(), options.only)
    need_weights(options, any("FILE" in NETWORKS[case.network] for case in wanted))
    rest = ((case.name, partial(measure, case, options)) for case in wanted)
    go_on(options.kept, rest, options.minutes, lambda found: f"{100 * found['last_acc']:.1f} %")
    if options.only:
        return f"Measured: {', '.join(options.only)}."
    texts, known = [], read(options.kept)
    for network in options.network:
        one = figure(network, known, options)
        if one.parts:
            write_own(one, options.kept)
        texts.append(f"### {network}\n\n{one.text() or 'Nothing to compare yet.'}")
    return "\n\n".join(texts)


BENCHMARK = Benchmark("benchmarks.pacs", "Adaptation on PACS", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
