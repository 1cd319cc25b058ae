"""The embedded digits: how much to retrain, how many layers by labels and distance, forgetting, adaptation.

Each is one or a few commands of tlcl below --out, three seeds; a finished run is not run again, one that was
stopped goes on. What they come to goes into the register.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Benchmark
from benchmarks.figure import Cell, Figure, Table, Value
from benchmarks.pacs import BASE, CHOSEN
from benchmarks.register import measured_in, write
from benchmarks.steps import accuracy, methods_table, over_seeds, perform, sweep
from tlcl.adaptation.methods.ccsa import CCSAConfig
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.sources.digits import load_digits
from tlcl.jobs.finished import load_run
from tlcl.models.inference import predict
from tlcl.reports.compare import runs_by_method
from tlcl.reports.depth_grid import gain_words, paired_gains, sentence
from tlcl.reports.paired import compared, difference_words, paired_runs
from tlcl.reports.tables.depth_grid import DISTANCES, cells, read_runs
from tlcl.reports.tables.spread import mean_std
from tlcl.statistics.paired import together
from tlcl.sweeps.depth_grid_plan import EMBEDDED, depth_grid
from tlcl.system.figures import signed_points
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import read_object

SEEDS = (0, 1, 2)
QUICKSTART = "+experiment=finetune_layerwise logger=none"
SIZES, GRID_SIZES = (50, 1297), (50, 200, 1000)
ARMS = {
    "head only": "thaw=head_only",
    "layer by layer": "+experiment=finetune_layerwise",
    "from scratch": "thaw=all model.weights=none optim.block_lr_decay=1.0",
}
SWEPT = f"data.train_size={','.join(map(str, SIZES))} seed=0,1,2 data.batch_size=16 logger=none"
PLAIN = "+experiment=adapt_digits seed=10 logger=none"
SMALL = f"{PLAIN} model=small_cnn model.input_size=16"
CCSA = {  # sweeps in units of the first batch, and what stands beside them
    "resnet18": f"{PLAIN} adaptation=ccsa adaptation.weight=0.5,0.75,0.9 adaptation.margin=0.1,1",
    "small_cnn": f"{SMALL} adaptation=ccsa adaptation.distances=relative adaptation.weight=0.25,0.5,0.75 "
    "adaptation.margin=0.1,1",
}
BESIDE = {
    "resnet18_fine_tune": f"{PLAIN} adaptation=fine_tune adaptation.target_labels=5",
    "small_cnn_raw": f"{SMALL} adaptation=ccsa",
    "small_cnn_source_only": f"{SMALL} adaptation=source_only",
    "small_cnn_fine_tune": f"{SMALL} adaptation=fine_tune adaptation.target_labels=5",
}
WEIGHTS = {"mmd": (1, 10, 100), "coral": (0.1, 1, 10), "dann": (0.1, 1)}
DSN = {  # beside DANN, whose discriminator it has: all of it, and with one thing less or otherwise
    "dann": "adaptation=dann",
    "dsn": "adaptation=dsn",
    "dsn, similarity alone": "adaptation=dsn adaptation.reconstruction=0 adaptation.difference=0",
    "dsn, from the first step": "adaptation=dsn adaptation.similarity_from=0",
    "dsn, similarity of weight 1": "adaptation=dsn adaptation.weight=1",
}
CERTIFIED, ADAPTED = "er", "dann"  # whose first run is measured anew
COMPARED = {"forgetting": "+experiment=continual_compare", "adaptation": "+experiment=adapt_compare"}


def one_run(run: Path, typed: str, minutes: float, key: str = "test_acc") -> dict[str, Any]:
    """What of a `Figure` lets `make certify` measure one of its runs anew."""
    summary = json.loads((run / "summary.json").read_text())
    value = accuracy(summary | {"test_acc": summary[key]})
    how = {"run": typed, "summary": key, "value": "one_run", "minutes": minutes, "exact": True}
    return {"values": {"one_run": value}, "certify": how}


def layerwise(out: Path) -> Figure:
    """The main job: `make quickstart`."""
    perform(out, QUICKSTART)
    again = one_run(out, QUICKSTART, 2)
    again["values"]["seconds"] = Value(json.loads((out / "summary.json").read_text())["seconds"], "seconds")
    return Figure("digits_layerwise", ("make quickstart",), (0,), measured=measured_in(out), **again)


def retrain(out: Path) -> Figure:
    """Head only, layer by layer and from scratch, with few labels and with all."""
    found: dict[tuple[str, int], dict[object, Path]] = {}
    for arm, chosen in ARMS.items():
        for run in sweep(out / arm.replace(" ", "_"), f"{chosen} {SWEPT}"):
            config = FinishedRun(run).config
            found.setdefault((arm, config.data.train_size), {})[config.seed] = run
    rows: list[tuple[str | Value, ...]] = []
    head, *others = ARMS
    pairs = together({
        (arm, size): paired_runs(found[head, size], {arm: found[arm, size]})[arm]
        for size in SIZES for arm in others
    })  # fmt: skip
    for size in SIZES:
        cells_of: list[str | Value] = [_mean(found[head, size])]
        for arm in others:
            pair = pairs[arm, size]
            cells_of += [_mean(found[arm, size]), difference_words(pair), f"{pair.p:.2g}"]
        rows.append((f"{size:,}", *cells_of))
    columns = ["labels", "head only"]
    for arm in others:
        columns += [arm, f"{arm} less head only (95 %)", "p, Holm"]
    commands = tuple(f"tlcl train -m {chosen} {SWEPT}" for chosen in ARMS.values())
    run = found["head only", SIZES[0]][0]
    typed = f"{ARMS['head only']} data.train_size={SIZES[0]} seed=0 data.batch_size=16"
    table = Table(tuple(columns), tuple(rows))
    again = one_run(run, typed, 2)
    return Figure("digits_retrain", commands, SEEDS, parts=(table,), measured=measured_in(run), **again)


def _mean(runs: dict[object, Path], key: str = "test_acc") -> Value:
    accuracies = [json.loads((run / "summary.json").read_text())[key] for run in runs.values()]
    mean, spread = mean_std(accuracies)
    return Value(float(np.mean(accuracies)) if mean is None else mean, spread=spread)


def depth(out: Path) -> Figure:
    """Every freeze depth x labels x target, from the network pretrained on letters."""
    depth_grid(out, EMBEDDED, GRID_SIZES, SEEDS)
    table = cells(read_runs(out), read_object(out / DISTANCES))
    gains = gain_words(paired_gains(out, table))
    rows = tuple(
        (cell.target, f"{cell.distance:.2f}", f"{cell.size:,}", str(cell.best), f"{100 * cell.accuracy:.1f}",
         f"{100 * cell.head_only:.1f}", gains.get((cell.target, cell.size), signed_points(cell.gain)))
        for cell in table
    )  # fmt: skip
    columns = ("target", "MMD to the letters", "labels", "depth chosen", "test accuracy there", "head only", "gain")
    said = (sentence(table, "number of labels"), sentence(table, "distance"))
    last = sorted((out / "runs").iterdir())[-1]
    parts: tuple[str | Table, ...] = (Table(columns, rows), *said)
    return Figure("digits_depth", ("tlcl depth-grid",), SEEDS, parts=parts, measured=measured_in(last))


def forgetting(out: Path) -> Figure:
    """All methods on five tasks of two digits."""
    perform(out, COMPARED["forgetting"])
    table = methods_table(out / "compare.json")
    command = f"tlcl train {COMPARED['forgetting']}"
    run = f"+experiment=continual_digits method={CERTIFIED} seed=0"
    again = one_run(out / "runs" / f"{CERTIFIED}_seed0", run, 3, "final_accuracy")
    return Figure("digits_forgetting", (command,), SEEDS, parts=(table,), measured=measured_in(out), **again)


def adaptation(out: Path) -> Figure:
    """All methods from rendered digits to handwritten ones."""
    perform(out, COMPARED["adaptation"])
    lines: Sequence[dict[str, Any]] = json.loads((out / "compare.json").read_text())
    runs = runs_by_method(out)
    pairs = compared(runs[BASE], {name: own for name, own in runs.items() if name != BASE})
    rows = tuple(
        (row["method"], over_seeds(row, "test_acc"),
         *((difference_words(pair), f"{pair.p:.2g}") if (pair := pairs.get(row["method"])) else ("", "")),
         over_seeds(row, "source_test_acc"))
        for row in lines
    )  # fmt: skip
    table = Table(("method", "target", f"less {BASE} (95 %)", "p, Holm", "source"), rows)
    command = f"tlcl train {COMPARED['adaptation']}"
    run = f"+experiment=adapt_digits adaptation={ADAPTED} seed=0"
    again = one_run(out / "runs" / f"{ADAPTED}_seed0", run, 3)
    return Figure("digits_adaptation", (command,), SEEDS, parts=(table,), measured=measured_in(out), **again)


def without_labels(out: Path) -> Figure:
    """Weight and epoch by the source's accuracy less the target's entropy; then that weight on the seeds of all."""
    rows: list[tuple[Cell, ...]] = []
    commands, first = [], Path()
    for method, weights in WEIGHTS.items():
        of = f"+experiment=adapt_digits adaptation={method} {CHOSEN} logger=none"
        typed = f"{of} adaptation.weight={','.join(map(str, weights))} seed=10"
        scores = {}
        for run in sweep(out / method, typed):
            selected = json.loads((run / "summary.json").read_text())["selected"]
            scores[FinishedRun(run).config.adaptation.weight] = selected["acc"] - selected["target_entropy"]
        best = max(scores, key=lambda weight: scores[weight])
        runs = sweep(out / f"{method}_chosen", f"{of} adaptation.weight={best} seed=0,1,2")
        first = runs[0]
        tried = ", ".join(f"{weight:g} ({scores[weight]:.2f})" for weight in sorted(scores))
        rows.append((method, tried, f"{best:g}", _mean(dict(enumerate(runs)))))
        commands.append(f"tlcl train -m {typed}")
    columns = ("method", "weights tried (their score)", "chosen", "target, seeds 0 to 2")
    table = Table(columns, tuple(rows))
    return Figure("digits_without_labels", tuple(commands), SEEDS, parts=(table,), measured=measured_in(first))


def ccsa(out: Path) -> Figure:
    """CCSA's weight and margin on another seed, by target images that are not tested; fine-tuning beside it."""
    runs = [run for network, typed in CCSA.items() for run in sweep(out / network, typed)]
    for name, typed in BESIDE.items():
        perform(out / name, typed)
    pool = load_digits().pool
    rows: list[tuple[Cell, ...]] = []
    for run in [*runs, *(out / name for name in BESIDE)]:
        net, _, config = load_run(run)
        answers = predict(net, pool.images, batch_size=EVAL_BATCH, precision=config.trainer.precision).argmax(1)
        source = json.loads((run / "summary.json").read_text())["source_test_acc"]
        assert config.adaptation is not None
        of = [""] * 3
        if isinstance(chosen := config.adaptation.on(config.model.name), CCSAConfig):
            assert chosen.distances is not None
            of = [chosen.distances, f"{chosen.used_weight:g}", f"{chosen.margin:g}"]
        right = float((answers == pool.labels).double().mean())
        rows.append((config.model.name, config.adaptation.name, *of, Value(right), Value(source)))
    columns = (
        "network", "method", "distances", "weight", "margin", "target, training and validation images",
        "source, test images",
    )  # fmt: skip
    commands = tuple(
        f"tlcl train{many} {typed}" for many, of in ((" -m", CCSA), ("", BESIDE)) for typed in of.values()
    )
    table = Table(columns, tuple(rows))
    return Figure("digits_ccsa", commands, (10,), parts=(table,), measured=measured_in(runs[0]))


def dsn(out: Path) -> Figure:
    """Domain separation networks beside DANN, and what of them makes the difference."""
    commands, runs = [], dict[str, dict[object, Path]]()
    for number, (name, typed) in enumerate(DSN.items()):
        whole = f"+experiment=adapt_digits {typed} seed={','.join(map(str, SEEDS))} logger=none"
        runs[name] = {FinishedRun(run).config.seed: run for run in sweep(out / str(number), whole)}
        commands.append(f"tlcl train -m {whole}")
    first = next(iter(DSN))
    pairs = together(paired_runs(runs[first], {name: own for name, own in runs.items() if name != first}))
    rows: list[tuple[Cell, ...]] = []
    for name, own in runs.items():
        pair = pairs.get(name)
        told = ("", "") if pair is None else (difference_words(pair), f"{pair.p:.2g}")
        rows.append((name, _mean(own), *told, _mean(own, "source_test_acc")))
    table = Table(("method", "target", f"less {first} (95 %)", "p, Holm", "source"), tuple(rows))
    run = runs[first][SEEDS[0]]
    return Figure("digits_dsn", tuple(commands), SEEDS, parts=(table,), measured=measured_in(run))


PARTS: dict[str, Callable[[Path], Figure]] = {
    "layerwise": layerwise, "retrain": retrain, "depth": depth, "forgetting": forgetting, "ccsa": ccsa,
    "adaptation": adaptation, "without_labels": without_labels, "dsn": dsn,
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these alone")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="the runs are kept there")


def section(options: argparse.Namespace) -> str:
    texts = []
    for name in options.only:
        figure = PARTS[name](options.out / name)
        write(figure)
        texts += [f"### {name}", figure.text()]
    return "\n\n".join(texts)


BENCHMARK = Benchmark("benchmarks.digits", "The embedded digits", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
