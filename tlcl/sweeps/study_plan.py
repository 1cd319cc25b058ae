"""The plan of `tlcl study`, and one report of them: every question on the embedded data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.reports.study import ADAPTATION, CONTINUAL, GRID, LAYERWISE, write_study_report
from tlcl.sweeps import compare
from tlcl.sweeps.engine import PlannedRun
from tlcl.sweeps.study import QUIET, cell, run_study

DEPTHS = range(6)


@dataclass(frozen=True)
class Scale:
    """How much of it is done.

    Attributes:
        sizes: labelled images of the grid.
        epochs: of each run of the grid.
        continual, adaptation: the methods that are compared.
        shorter: overrides of every run, to make it short.
    """

    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    continual: tuple[str, ...]
    adaptation: tuple[str, ...]
    shorter: tuple[str, ...] = ()


FULL = Scale(
    sizes=(50, 200, 1297),
    seeds=(0, 1),
    epochs=15,
    continual=("naive", "ewc", "lwf", "er", "er_ace", "der_pp", "icarl", "slda", "ranpac", "joint"),
    adaptation=("source_only", "adabn", "mmd", "coral", "dann", "fine_tune", "ccsa", "target_oracle"),
)
QUICK = Scale(
    sizes=(50, 200),
    seeds=(0,),
    epochs=2,
    continual=("naive", "slda"),
    adaptation=("source_only", "adabn"),
    shorter=("model.weights=none", "trainer.epochs=2"),
)


def grid_runs(root: Path, scale: Scale) -> Iterator[PlannedRun]:
    """Every freeze depth with every number of labelled images."""
    for seed in scale.seeds:
        for size in scale.sizes:
            for depth in DEPTHS:
                path = root / GRID / "runs" / f"depth{depth}_size{size}_seed{seed}"
                yield cell(path, "grid", depth, size, seed, scale.epochs, [*QUIET, *scale.shorter])


def compare_runs(
    root: Path, scale: Scale, experiment: str, methods: tuple[str, ...], part: str
) -> Iterator[PlannedRun]:
    """The runs of a comparison, and last the comparison itself, which finds them done and makes the table."""
    composed = composed_config(
        [*QUIET, *scale.shorter, f"+experiment={experiment}", f"compare.methods=[{','.join(methods)}]",
         "compare.seeds=[0]"]
    )  # fmt: skip
    composed.run_dir = str(root / part)
    config = parse_config(composed)
    yield from compare.children(config, root / part, 25)
    yield PlannedRun(root / part, config, {"name": part}, 2)


def planned_runs(root: Path, scale: Scale) -> list[PlannedRun]:
    """Every run of the study, in order."""
    given = [*QUIET, *scale.shorter, "+experiment=finetune_layerwise", *_milestones(scale)]
    layerwise = parse_config(composed_config(given))
    return [
        PlannedRun(root / LAYERWISE, layerwise, {"name": LAYERWISE}, 60),
        *grid_runs(root, scale),
        *compare_runs(root, scale, "continual_compare", scale.continual, CONTINUAL),
        *compare_runs(root, scale, "adapt_compare", scale.adaptation, ADAPTATION),
    ]


def _milestones(scale: Scale) -> list[str]:
    return ["thaw.of=null", "~thaw.15", "~thaw.25", "+thaw.1=1"] if scale.shorter else []


def study(root: Path, scale: Scale, jobs: int = 1) -> Path:
    """Run what is not done yet and write the report; returns its path.

    Raises:
        UserError, TrainingError: see `run_study`.
    """
    return run_study(root, planned_runs(root, scale), "study", write_study_report, jobs)
