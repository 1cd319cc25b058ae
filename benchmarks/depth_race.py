"""The race of `tlcl depth` beside the exhaustive grid, on 60 cases that were fixed before any was run.

Of each case every setting is trained on all labels and answers about the test images; then the race, which sees no
test image, recommends one. Regret: how many points more of the test images the best setting has. As the best of
several noisy figures is luck in part, it is also counted on the half of the test images that did not say which is
best. The grid's seconds are those of every setting in every fold, by the race's own trainings on the same outputs;
a setting that no fold asked is taken as long as its training on all labels, in proportion. The rules of the race
were settled when the trainings on all labels of seed 10 were known, so the other seeds are also given alone; they
draw other labels and test images from the same sets.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import RACE, add_case_options, go_on, measured, named, need_weights, read, write_whole
from benchmarks.common import Benchmark
from benchmarks.depth_cases import NETWORKS, SETS, Case, files_of, prepared, right, run
from benchmarks.figure import Cell, Figure, Table, Value
from tlcl.config.candidates import SURGICAL
from tlcl.jobs.race import Race
from tlcl.jobs.race_record import race_record
from tlcl.models.weights import file_sha256
from tlcl.statistics.accuracy import accuracy_interval
from tlcl.statistics.paired import mean_difference
from tlcl.statistics.racing import starters
from tlcl.tracking.records import RunDirectory

KEPT = "depth_race.jsonl"
NETWORK = next(iter(NETWORKS))
SETTINGS = [1, 2, "all", "first", "middle", "norms"]
SEEDS = (10, 11, 12)
AIMS = {
    "mean regret, points": "0.7 at most",
    "% of these in which it is worse on the test images": "5 at most",
    "seconds of trainings, % of the grid's": "25 at most",
}
SETTLED = 10  # with the trainings on all labels of this seed the race's rules were settled
CASES = tuple(
    Case(NETWORK, images, labels, seed)
    for images, sizes, seeds in (
        ("ants and bees", (50, 140), (10, 11, 12)),
        ("PACS photo", (50, 200, 600), (10, 11, 12)),
        ("PACS art painting", (50, 200, 1000), (10, 11, 12)),
        ("PACS cartoon", (50, 200, 1000), (10, 11, 12)),
        ("PACS sketch", (50, 200, 2000), (10, 11, 12)),
        ("CIFAR-10", (50, 200, 1000), (10, 11)),
        ("Tiny-ImageNet", (200, 1000), (10, 11, 12)),
        ("digits", (50, 200, 1000), (10, 11)),
    )
    for labels in sizes for seed in seeds
)  # fmt: skip


def race_of(case: Case, data: Path, weights: Path) -> dict[str, Any]:
    """What the race comes to, and its seconds."""
    began = time.perf_counter()
    ready = prepared(case, data, weights)
    config = ready.config
    assert config.depth is not None
    long_shots = [setting in SURGICAL for setting in SETTINGS]
    chosen = starters(long_shots, case.labels, config.depth.folds)  # settings that are named are all asked
    config.depth.settings, config.depth.curve = [str(SETTINGS[place]) for place in chosen], []
    with tempfile.TemporaryDirectory() as folder, RunDirectory(Path(folder, "race"), resume=False) as directory:
        directory.begin(config)
        race = Race(config, directory, ready.first, ready.start)
        race.run()
        found = race_record(race, race.images)
    trainings = [{"setting": one.setting, "seconds": one.seconds} for one in race.done]
    return {"record": found, "trainings": trainings, "seconds": round(time.perf_counter() - began, 2)}


def run_races(cases: Sequence[Case], data: Path, weights: Path, kept: Path, minutes: float) -> None:
    """Race on what is measured and not raced on yet."""
    known = read(kept)
    rest = [(raced(case), partial(race_of, case, data, weights)) for case in cases if case.name in known]
    go_on(kept, rest, minutes, lambda found: found["record"]["chosen"] or "head")


def raced(case: Case) -> str:
    return f"{RACE}{case.name}"


def regret(found: dict[str, Any], chosen: str) -> tuple[float, float]:
    """Points that the best setting has more than the chosen one: on all test images, and cross-fitted in halves."""
    names = list(found["settings"])
    answers = np.array([right(found, name) for name in names]).astype(float)
    mine = names.index(chosen)
    whole = answers.mean(1)
    halves = (answers[:, ::2], answers[:, 1::2])
    crossed = [other[one.mean(1).argmax()].mean() - other[mine].mean() for one, other in (halves, halves[::-1])]
    return float(whole.max() - whole[mine]), float(np.mean(crossed))


def seconds_of(found: dict[str, Any], race: dict[str, Any]) -> tuple[float, float]:
    """The race's seconds, and those of every setting in every fold.

    What no fold asked is taken as long as its training on all labels, by the ratio of the two for the others.
    """
    seconds: dict[str, list[float]] = {}
    for training in race["trainings"]:
        seconds.setdefault(training["setting"], []).append(training["seconds"])
    a_fold = sum(float(np.mean(one)) for one in seconds.values())
    whole = {name: one["seconds"] for name, one in found["settings"].items() if name != "head"}
    unasked = sum(time for name, time in whole.items() if name not in seconds)
    a_fold *= 1 + unasked / sum(whole[name] for name in seconds)
    return sum(map(sum, seconds.values())), race["record"]["folds"] * a_fold


def rows_of(kept: Path) -> list[dict[str, Any]]:
    """A row a case that is measured and raced on."""
    known, rows = read(kept), []
    for case in CASES:
        if raced(case) not in known:
            continue
        found, race = known[case.name], known[raced(case)]
        chosen = race["record"]["chosen"] or "head"
        seconds, grid = seconds_of(found, race)
        told = any(row["better"] for row in race["record"]["settings"] if row["setting"] == chosen)
        whole, crossed = regret(found, chosen)
        gains = {name: one["acc"] - found["settings"]["head"]["acc"] for name, one in found["settings"].items()}
        always = {name: regret(found, name) for name in found["settings"]}
        rows.append({"case": case, "chosen": chosen, "told": told, "regret": whole, "crossed": crossed,
                     "gain": gains[chosen], "gains": gains, "seconds": seconds, "grid": grid,
                     "always": always})  # fmt: skip
    return rows


def worse(of: Sequence[dict[str, Any]], among: Sequence[dict[str, Any]]) -> Value | str:
    """In how many of some cases the head alone is right more often; the interval takes cases as independent."""
    if not among:
        return "none"
    wrong = sum(row["gain"] < 0 for row in of)
    low, high = accuracy_interval(wrong, len(among))
    return Value(wrong / len(among), low=low, high=high)


def measures(rows: Sequence[dict[str, Any]]) -> dict[str, Cell]:
    """The figures that were aimed at, and those beside them."""
    said = [row for row in rows if row["told"]]
    guessed = [row for row in rows if row["chosen"] != "head" and not row["told"]]
    seconds = [sum(row[key] for row in rows) for key in ("seconds", "grid")]
    found: dict[str, Cell] = {
        "mean regret, points": Value(float(np.mean([row["regret"] for row in rows]))),
        "mean regret, cross-fitted": Value(float(np.mean([row["crossed"] for row in rows]))),
        "cases in which deeper is called better": Value(len(said), "count"),
        "% of these in which it is worse on the test images": worse(said, said),
        "% of all cases in which it is so called and worse": worse(said, rows),
        "cases in which deeper is the better guess": Value(len(guessed), "count"),
        "% of these in which it is worse": worse(guessed, guessed),
        "seconds of trainings, % of the grid's": Value(seconds[0] / seconds[1]),
    }
    for name in ("head", "1", "2", "4"):
        words = f"always {'the head alone' if name == 'head' else f'depth {name}'}"
        for place, what in enumerate(("mean regret", "mean regret, cross-fitted")):
            found[f"{words}: {what}"] = Value(float(np.mean([row["always"][name][place] for row in rows])))
        if name != "head":
            ill = float(np.mean([row["gains"][name] < 0 for row in rows]))
            found[f"{words}: % of cases in which it is worse than the head"] = Value(ill)
    return found


def summary(rows: Sequence[dict[str, Any]]) -> Table:
    """All cases, and those of seeds that had no say in the race's rules."""
    whole = measures(rows)
    fresh = [row for row in rows if row["case"].seed != SETTLED]
    beside = measures(fresh) if fresh else dict.fromkeys(whole, "")
    lines = tuple((name, value, beside[name], AIMS.get(name, "")) for name, value in whole.items())
    return Table(("", "all cases", f"without seed {SETTLED}", "aim"), lines)


def always_words(rows: Sequence[dict[str, Any]]) -> str:
    """What always taking one setting costs beside the race, with intervals that take cases as independent."""
    said = []
    for name in ("head", "1", "2", "4"):
        gap = mean_difference([row["regret"] for row in rows], [row["always"][name][0] for row in rows])
        what = "the head alone" if name == "head" else f"depth {name}"
        said.append(f"{what} {Value(gap.difference, 'signed', gap.low, gap.high).text()}")
    return f"The regret of always one setting less the race's, in points (95 %): {'; '.join(said)}."


def cases_table(rows: Sequence[dict[str, Any]]) -> Table:
    """A row a case."""
    lines = tuple(
        (row["case"].images, f"{row['case'].labels:,}", str(row["case"].seed), row["chosen"],
         "found" if row["told"] else "kept" if row["chosen"] == "head" else "guessed",
         Value(row["gain"], "signed"), Value(row["regret"]), Value(row["crossed"], "signed"),
         Value(row["seconds"] / row["grid"]))
        for row in rows
    )  # fmt: skip
    columns = (
        "images", "labels", "seed", "recommended", "how", "gain over the head", "regret", "cross-fitted",
        "% of the grid's seconds",
    )  # fmt: skip
    return Table(columns, lines)


def figure(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> Figure:
    """What is measured so far, for the register."""
    known = read(options.kept)
    digests = {name: file_sha256(path) for name, path in files_of(options).items()}
    weights = {name: one for name, one in digests.items() if name.startswith("weights/")}
    used = {path for row in rows for path in SETS[row["case"].images].archives}
    return Figure(
        "depth_race", ("python -m benchmarks.depth_race --data data --weights FILE",),
        tuple(sorted({row["case"].seed for row in rows})), {name: digests[name] for name in sorted(used)}, weights,
        measured=measured([known[row["case"].name] for row in rows]),
        parts=(f"{len(rows)} of {len(CASES)} cases.", summary(rows), always_words(rows), cases_table(rows)),
        certify={"module": "benchmarks.depth_race", "cases": KEPT, "of": "", "exact": True},
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    add_case_options(parser, KEPT)
    parser.add_argument("--images", nargs="+", default=list(SETS), choices=list(SETS), help="measure these alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), choices=SEEDS, help="these alone")


def section(options: argparse.Namespace) -> str:
    need_weights(options, True)
    began = time.monotonic()
    chosen = named(CASES, options.only) if options.only else CASES
    wanted = [case for case in chosen if case.images in options.images and case.seed in options.seeds]
    for case in sorted(wanted, key=lambda case: case.seed):  # so that what is there early has every set
        left = options.minutes - (time.monotonic() - began) / 60
        if left <= 0:
            break
        run([case], options.data, options.weights, options.kept, SETTINGS, left)
        run_races([case], options.data, options.weights, options.kept, left)
    if options.only:
        return f"Measured: {', '.join(options.only)}."
    rows = rows_of(options.kept)
    if not rows:
        return "No case yet."
    found = figure(rows, options)
    write_whole(found, options.kept)
    return found.text()


BENCHMARK = Benchmark("benchmarks.depth_race", "The race beside the grid", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
