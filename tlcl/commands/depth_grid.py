"""`tlcl-depth-grid`: how many layers are worth retraining, by the number of labels and by how far the target is.

Every freeze depth x every number of labelled images x every target, several seeds each, starting from the network
pretrained on letters. The targets are handwritten digits as they are, inverted and noisy, and with --images a
folder of your own. How far each is from the letters is measured on that network's features, as by tlcl-distance.
One report with the table, the figures and what they say; a grid that was stopped goes on by the same command.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tlcl.adaptation.evaluate import responses
from tlcl.commands.distance import distances, load_model, some
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.sources.letters import LettersConfig
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError, run_cli
from tlcl.jobs.series import QUIET, Step, run_steps
from tlcl.models.blocks import FEATURES
from tlcl.reports.depth_grid import write_depth_grid_report
from tlcl.reports.tables.depth_grid import DISTANCES, RUNS
from tlcl.system.files import atomic_write_text

DEPTHS = range(6)
DISTANCE_IMAGES = 1000
BATCH = 32


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
    return Target(name, ("data=image_folder", f"data.train={Path(path).expanduser().resolve()}", "data.size=32"))


def steps(root: Path, targets: Sequence[Target], sizes: Sequence[int], seeds: Sequence[int]) -> list[Step]:
    """Every run of the grid; without crops, so that frozen blocks are computed once."""
    planned = []
    for seed in seeds:
        for size in sizes:
            epochs = epochs_for(size)
            for target in targets:
                for depth in DEPTHS:
                    overrides = [
                        *target.overrides, f"name={target.name} depth {depth}", f"thaw.depth={depth}",
                        f"data.train_size={size}", "data.val_size=100", "data.crop_padding=0",
                        f"data.batch_size={BATCH}", f"trainer.epochs={epochs}", f"seed={seed}",
                    ]  # fmt: skip
                    path = root / RUNS / f"{target.name.replace(' ', '_')}_size{size}_depth{depth}_seed{seed}"
                    weight = 2 + 0.0002 * (depth + 1) * size * epochs
                    planned.append(Step(path, composed_config([*QUIET, *overrides]), weight))
    return planned


def measure_distances(root: Path, targets: Sequence[Target]) -> None:
    """`distances.json`: name -> the figures of `tlcl.commands.distance.FIGURES` from the letters to each target.

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


def depth_grid(root: Path, targets: Sequence[Target], sizes: Sequence[int], seeds: Sequence[int]) -> Path:
    """Run what is not done yet and write the report; returns its path.

    Raises:
        UserError, Interrupted: see `run_steps`.
    """
    planned = steps(root, targets, sizes, seeds)
    stopped = run_steps(root, planned, "depth-grid")
    measure_distances(root, targets)
    return write_depth_grid_report(root, stopped)


def _program() -> None:
    parser = argparse.ArgumentParser(
        prog="tlcl-depth-grid",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: tlcl-depth-grid --images flowers=PATH --sizes 50 200 --seeds 0 1 2",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/depth_grid"), help="where runs and report go")
    parser.add_argument("--images", action="append", default=[], metavar="NAME=PATH", help="one more target")
    sizes, seeds = "labelled images (default 50 200 1000)", "of each cell (default 0 1 2)"
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000], metavar="N", help=sizes)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help=seeds)
    options = parser.parse_args()
    targets = [*EMBEDDED, *map(own_target, options.images)]
    print(f"report: {depth_grid(options.out, targets, options.sizes, options.seeds)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
