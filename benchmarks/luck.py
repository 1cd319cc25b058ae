"""`python -m benchmarks.luck`: how much a deeper model's gain over the head varies from one training to the next.

From the answers of `benchmarks.depth_claim` that are kept in the repository: for each network, set of images,
number of labels and depth the variance over the seeds, which draw other labels, beyond what test images explain.
Nothing is trained, and no data are needed.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import CASES, measured, read, rights, write_own
from benchmarks.common import Benchmark
from benchmarks.depth_claim import KEPT
from benchmarks.figure import Cell, Figure, Table, Value
from tlcl.statistics.luck import luck_variance

MANY = 600  # labels, as of `tlcl.statistics.luck.LUCK`
HEAD = "head"
Key = tuple[str, str, int, str]  # network, images, labels, depth


def gains_of(found: Mapping[str, Mapping[str, Any]]) -> dict[Key, list[np.ndarray]]:
    """Of each depth, a seed after the other: whether an image is won (1) or lost (-1) by the deeper model."""
    gains: dict[Key, list[np.ndarray]] = defaultdict(list)
    for case in found.values():
        if "settings" not in case:
            continue
        answers = {name: rights(one["right"], case["tested"]) for name, one in case["settings"].items()}
        for depth in answers:
            if depth != HEAD:
                key = case["network"], case["images"], case["labels"], depth
                gains[key].append(answers[depth].astype(int) - answers[HEAD].astype(int))
    return {key: own for key, own in gains.items() if len(own) > 1}


def spread(variances: list[float]) -> float:
    """The standard deviation of their mean variance; 0 where that is not above 0."""
    return math.sqrt(max(0.0, float(np.mean(variances))))


def figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """For the register."""
    variances = {key: luck_variance(own) for key, own in gains_of(found).items()}
    rows: list[tuple[Cell, ...]] = []
    for network, depth in sorted({(key[0], key[3]) for key in variances}):
        mine = {key: one for key, one in variances.items() if (key[0], key[3]) == (network, depth)}
        parts = [[one for key, one in mine.items() if (key[2] >= MANY) == many] for many in (False, True)]
        rows.append((network, depth, *(Value(spread(part)) if part else "" for part in parts)))
    columns = ("network", "blocks retrained", f"fewer than {MANY} labels", f"{MANY} labels or more")
    many = [one for key, one in variances.items() if key[2] >= MANY]
    cases = [case for case in found.values() if "settings" in case]
    return Figure(
        "training_luck", ("python -m benchmarks.luck",), tuple(sorted({case["seed"] for case in cases})),
        values={"luck": Value(spread(many)), "models": Value(len(many), "count")},
        parts=(Table(columns, tuple(rows)),),
        measured=measured(cases),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kept", type=Path, default=CASES / KEPT, help="the cases of benchmarks.depth_claim")


def section(options: argparse.Namespace) -> str:
    one = figure(read(options.kept))
    write_own(one, options.kept)
    return one.text()


BENCHMARK = Benchmark("benchmarks.luck", "The luck of a training", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
