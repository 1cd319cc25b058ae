"""The plan of `tlcl study`, and one report of them: every question on the embedded data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlcl.config.compose import composed_config
from tlcl.jobs import compare
from tlcl.jobs.series import QUIET, Step, run_steps
from tlcl.reports.study import ADAPTATION, CONTINUAL, GRID, LAYERWISE, write_study_report

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


def grid_steps(root: Path, scale: Scale) -> Iterator[Step]:
    """Every freeze depth with every number of labelled images; without crops, so that frozen blocks are cached."""
    for seed in scale.seeds:
        for size in scale.sizes:
            for depth in DEPTHS:
                overrides = [
                    f"name=grid depth {depth}", f"thaw.depth={depth}", f"data.train_size={size}", f"seed={seed}",
                    f"trainer.epochs={scale.epochs}", "data.batch_size=32", "data.crop_padding=0",
                ]  # fmt: skip
                config = composed_config([*QUIET, *scale.shorter, *overrides])
                weight = 2 + 0.0002 * (depth + 1) * size * scale.epochs
                yield Step(root / GRID / "runs" / f"depth{depth}_size{size}_seed{seed}", config, weight)


def compare_steps(root: Path, scale: Scale, experiment: str, methods: tuple[str, ...], part: str) -> Iterator[Step]:
    """The runs of a comparison, and last the comparison itself, which finds them done and makes the table."""
    config = composed_config(
        [*QUIET, *scale.shorter, f"+experiment={experiment}", f"compare.methods=[{','.join(methods)}]",
         "compare.seeds=[0]"]
    )  # fmt: skip
    config.run_dir = str(root / part)
    for _, _, child in compare.children(config, root / part):
        yield Step(Path(child.run_dir), child, 25)
    yield Step(root / part, config, 2)


def steps(root: Path, scale: Scale) -> list[Step]:
    """Every run of the study, in order."""
    layerwise = composed_config([*QUIET, *scale.shorter, "+experiment=finetune_layerwise", *_milestones(scale)])
    return [
        Step(root / LAYERWISE, layerwise, 60),
        *grid_steps(root, scale),
        *compare_steps(root, scale, "continual_compare", scale.continual, CONTINUAL),
        *compare_steps(root, scale, "adapt_compare", scale.adaptation, ADAPTATION),
    ]


def _milestones(scale: Scale) -> list[str]:
    return ["~thaw.15", "~thaw.25", "+thaw.1=[layer4]"] if scale.shorter else []


def study(root: Path, scale: Scale) -> Path:
    """Run what is not done yet and write the report; returns its path.

    Raises:
        UserError, Interrupted: see `run_steps`.
    """
    return write_study_report(root, run_steps(root, steps(root, scale), "study"))
