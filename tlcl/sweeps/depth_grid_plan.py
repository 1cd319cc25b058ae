"""The plan of `tlcl depth-grid`: every freeze depth, number of labelled images and target, several seeds each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tlcl.adaptation.evaluate import responses
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.sources.letters import LettersConfig
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError
from tlcl.jobs.distance import distances, load_model, some
from tlcl.jobs.finetune import Finetune
from tlcl.models.blocks import FEATURES
from tlcl.quoting import quoted
from tlcl.reports.depth_grid import write_depth_grid_report
from tlcl.reports.tables.depth_grid import DISTANCES, RUNS
from tlcl.sweeps.engine import PlannedRun
from tlcl.sweeps.study import QUIET, cell, run_study
from tlcl.system.files import atomic_write_text
from tlcl.system.text import twice

DEPTHS = range(6)
DISTANCE_IMAGES = 1000


def epochs_for(size: int) -> int:
    """Few images are seen more often, so that they get about as many steps: 12 epochs of 1,000, at most 60."""
    return max(12, min(60, 12_000 // size))


@dataclass(frozen=True)
class Target:
    """One target data set: a name for the tables, and the overrides that choose it."""

    name: str
    overrides: tuple[str, ...]


EMBEDDED = (
    Target("digits", ("data=digits",)),
    Target("noisy digits", ("data=digits", "data.shift=noisy")),
    Target("inverted digits", ("data=digits", "data.shift=inverted")),
)


def own_target(text: str) -> Target:
    """`NAME=PATH`: a folder (or tar file) with one folder a class, at 32 pixels.

    Raises:
        UserError: no name, or no such path.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UserError(f"--images={text} must be NAME=PATH, e.g. --images cifar10=train.tar")
    if not Path(path).expanduser().exists():
        raise UserError(f"--images={text}: there is no {path}")
    whole = str(Path(path).expanduser().resolve())
    return Target(name, ("data=image_folder", quoted("data.train", whole), "data.size=32"))


def planned_runs(
    root: Path, targets: Sequence[Target], sizes: Sequence[int], seeds: Sequence[int]
) -> list[PlannedRun]:
    """Every run of the grid.

    Raises:
        UserError: a target's name, a size or a seed that is there twice, or a size that is none.
    """
    asked: dict[str, list[Any]] = {
        "--images": [target.name.replace(" ", "_") for target in targets], "--sizes": list(sizes),
        "--seeds": list(seeds),
    }  # fmt: skip
    for option, values in asked.items():
        if again := twice(values):
            raise UserError(f"{option} has {again[0]} twice; give each once, by a name of its own")
    if wrong := [size for size in sizes if size < 1]:
        raise UserError(f"--sizes={wrong[0]} must be at least 1")
    return [
        cell(
            root / RUNS / f"{target.name.replace(' ', '_')}_size{size}_depth{depth}_seed{seed}",
            target.name, depth, size, seed, epochs_for(size), [*QUIET, *target.overrides, "data.val_size=100"],
        )
        for seed in seeds for size in sizes for target in targets for depth in DEPTHS
    ]  # fmt: skip


def measure_distances(root: Path, targets: Sequence[Target]) -> None:
    """`distances.json`: name -> the figures of `tlcl.jobs.distance.FIGURES` from the letters to each target.

    All of them see the network before any fine-tuning; a figure that is there is not measured again.
    """
    path = root / DISTANCES
    known = json.loads(path.read_text()) if path.is_file() else {}
    missing = [target for target in targets if target.name not in known]
    if not missing:
        return
    config = parse_config(composed_config(QUIET))
    net, device = load_model("letters", config).net, torch.device("cpu")

    letters = some(load_source(LettersConfig("letters"), config.cache_dir).pool, DISTANCE_IMAGES, 0)
    source = responses(net, letters.images, FEATURES, device, "32-true")
    for target in missing:
        chosen = parse_config(composed_config([*QUIET, *target.overrides]))
        images = some(load_source(chosen.data, chosen.cache_dir).pool, DISTANCE_IMAGES, 0)
        answers = responses(net, images.images, FEATURES, device, "32-true")
        known[target.name] = distances(source, answers, images.labels, 0)
        atomic_write_text(path, json.dumps(known, indent=2) + "\n")


def depth_grid(
    root: Path, targets: Sequence[Target], sizes: Sequence[int], seeds: Sequence[int], jobs: int = 1
) -> Path:
    """Run what is not done yet and write the report; returns its path.

    Raises:
        UserError, TrainingError: see `run_study`.
    """

    plan = planned_runs(root, targets, sizes, seeds)
    for target in targets:  # before the first run
        Finetune.check([run.config for run in plan if run.settings["name"] == target.name])

    def page(root: Path, stopped: Sequence[str]) -> Path:
        measure_distances(root, targets)
        return write_depth_grid_report(root, stopped)

    return run_study(root, plan, "depth-grid", page, jobs)
