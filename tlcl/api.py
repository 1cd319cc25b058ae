"""Runs from Python, for notebooks: `run` is a command line of `tlcl train`, `Run` the directory that it leaves.

    from tlcl.api import run
    done = run(["+experiment=finetune_layerwise", "logger=none"])
    done.summary["test_acc"], done.metrics[-1]["val/acc"]
    done.plot("curves")
"""

import contextlib
import csv
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf

from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.errors import TrainingError, UserError
from tlcl.jobs import registry
from tlcl.jobs.distance import measure
from tlcl.jobs.explain import PREDICTED, explain
from tlcl.jobs.finished import classify
from tlcl.jobs.registry import run_or_resume
from tlcl.reports.tables.compare import read_table
from tlcl.reports.tables.sweep import Row, rows_of
from tlcl.system.folders import make_folders, remove_empty
from tlcl.system.memory import keep_freed_memory
from tlcl.tracking.accuracy_matrix import Measured
from tlcl.tracking.csv_cells import from_cell
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.sweep_records import job_in

LOG = "log.txt"  # in the run's directory: what the command would have printed


@dataclass(frozen=True)
class Picture:
    """A PNG file that a notebook shows."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Run(FinishedRun):
    """What a run left in the directory `path`, whoever made it; read when it is asked for.

    Raises:
        UserError: there is no run.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(Path(path).expanduser())
        if not (self.path / "config.yaml").is_file():
            raise UserError(f"{self.path} is no tlcl run directory: it has no config.yaml")

    def __repr__(self) -> str:
        state = str(self.summary.get("status", "not complete"))
        accuracy = self.summary.get("test_acc")
        return f"{self.path}: {state}" + ("" if accuracy is None else f", test accuracy {accuracy:.1%}")

    @property
    def matrix(self) -> Measured:
        """The accuracy matrix of a continual run.

        Raises:
            UserError: the run has none.
        """
        measured = super().matrix
        if measured is None:
            raise UserError(f"{self.path} has no accuracy matrix: it is no continual run, or no task is done")
        return measured

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows of a comparison, best first; see `tlcl.reports.tables.compare.write_table`.

        Raises:
            UserError: the run is no comparison.
        """
        rows = read_table(self.path)
        if not rows:
            raise UserError(f"{self.path} has no table: it is no comparison of methods")
        return rows

    @property
    def runs(self) -> dict[str, "Run"]:
        """The runs of a comparison by their folders' names, such as `er_seed0`; empty for another run."""
        folders = sorted(path.parent for path in self.path.glob("runs/*/config.yaml"))
        return {folder.name: Run(folder) for folder in folders}

    @property
    def report(self) -> Path:
        """The page that shows it all."""
        return self.path / "report.html"

    def plot(self, name: str) -> Picture:
        """The report's picture `plots/NAME.png`.

        Raises:
            UserError: there is none of this name; the sentence says which there are.
        """
        known = sorted(path.stem for path in (self.path / "plots").glob("*.png"))
        if name not in known:
            raise UserError(f"{self.path} has no plot {name!r}; there are {', '.join(known) or 'none yet'}")
        return Picture(self.path / "plots" / f"{name}.png")

    def predict(
        self, images: str | Path | Sequence[str | Path], *, skip_bad: bool = False, coverage: float | None = None
    ) -> list[dict[str, Any]]:
        """Classify image files, or all files of folders, as `tlcl predict` does.

        Args:
            coverage: with it, a set of classes for each image, see `tlcl.statistics.conformal`.

        Returns:
            A dict an image: `file`, `prediction`, `confidence` (0 to 1), and `p(CLASS)` (0 to 1) of each class;
            with `coverage` also `set`, the names with ` | ` between them.

        Raises:
            UserError: see `tlcl.jobs.finished.classify`.
        """
        text = classify(
            self.path, _paths(images), batch_size=256, skip_bad=skip_bad, progress=False, coverage=coverage
        ).csv()
        texts = ("file", "prediction", "set")
        return [
            {key: from_cell(value) if key in texts else float(value) for key, value in row.items()}
            for row in csv.DictReader(StringIO(text))
        ]

    def explain(
        self,
        images: str | Path | Sequence[str | Path],
        *,
        classes: Sequence[str] = (PREDICTED,),
        neighbours: int = 5,
    ) -> Path:
        """Where the network looks in images and which training images are alike, as `tlcl explain` writes it.

        Args:
            classes: whose evidence is mapped: predicted, runner-up, or names of classes.
            neighbours: training images an image.

        Returns:
            The page `explain/explain.html` in the run's directory; beside it `explain.csv` and `overlays/`.

        Raises:
            UserError: see `tlcl.jobs.explain.explain`.
        """
        return explain(self.path, _paths(images), classes=classes, neighbours=neighbours)


def rows(runs: Sequence[Run], keys: Sequence[str]) -> list[Row]:
    """The table of runs that differ in these config keys; the runs of one row (those of several seeds) are pooled.

    `heat_map`, `lines` and `bars` of `tlcl.reports.plots.sweep` draw it.

    Raises:
        UserError: a run whose config has no such key.
    """
    jobs = []
    for number, one in enumerate(runs):
        settings = {key: OmegaConf.select(one.config, key) for key in keys}
        lacking = [key for key, value in settings.items() if value is None]
        if lacking:
            raise UserError(f"the config of {one.path} has no value of {lacking[0]!r}")
        jobs.append(job_in(one.path, one.path.parent, number, settings))
    return rows_of(jobs, keys)


def distance(
    source: str | Path, target: str | Path, *, model: str | Path = "letters", images: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How far two domains are apart, as `tlcl distance` measures it on a network's pooled features.

    Args:
        source, target: embedded sets (digits, letters, rendered_digits), or class folders.
        model: letters, imagenet, or the directory of a finished run.
        images: of each domain, drawn at random by `seed`.

    Returns:
        `a_distance`, `mmd`, `leep` and `logme` (see `tlcl.adaptation.distance`), and what they are of.

    Raises:
        UserError: see `tlcl.jobs.distance.measure`.
    """
    return measure(str(source), str(target), model=str(model), images=images, seed=seed)


def run(overrides: Sequence[str]) -> Run:
    """What `tlcl train OVERRIDES...` does, in a new directory and in silence: its output goes to `log.txt` there.

    The directory is `run_dir`; where that is taken, a number is added to it.

    Raises:
        UserError: a mistake in the overrides or in what they name.
        TrainingError: the loss is not finite; Interrupted: by Ctrl-C, see `resume`.
    """
    if any(item.startswith(("resume=", "+resume=")) for item in overrides):
        raise UserError("a run is resumed by tlcl.api.resume(RUN_DIR)")
    config = parse_config(composed_config(list(overrides)))
    path = _unused(Path(config.run_dir))
    with _called("tlcl train", *overrides):
        return _finished(path, lambda: run_or_resume(config, path))


def resume(path: str | Path) -> Run:
    """Resume a run that was stopped, by its own config; one that is complete is only read.

    Raises:
        as `run`.
    """
    begun = Run(path)
    return _finished(begun.path, lambda: registry.resume(begun.path))


def _paths(images: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(one) for one in ([images] if isinstance(images, str | Path) else images)]


def _unused(path: Path) -> Path:
    tries = (path if number == 1 else path.with_name(f"{path.name}_{number}") for number in count(1))
    return next(free for free in tries if not (free / "config.yaml").exists())


def _finished(path: Path, work: Callable[[], str | None]) -> Run:
    keep_freed_memory()
    with _quiet(path):
        why = work()
    if why is not None:
        raise TrainingError(why)
    return Run(path)


@contextlib.contextmanager
def _called(*arguments: str) -> Iterator[None]:
    """The run's record names its command; a notebook's own would be how its kernel was started."""
    before, sys.argv = sys.argv, list(arguments)
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """What is printed and logged at level INFO goes to the file; warnings are shown as well.

    Where a user's mistake has left nothing else, the file goes too.
    """
    ours = logging.getLogger("tlcl")
    level = ours.level
    with _log_in(path) as file, contextlib.redirect_stdout(file), warnings.catch_warnings():
        # timm's import asks for a notebook's progress bars, which no run draws
        warnings.filterwarnings("ignore", message="IProgress not found")
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        try:
            yield
        finally:
            ours.removeHandler(handler)
            ours.setLevel(level)


@contextlib.contextmanager
def _log_in(folder: Path) -> Iterator[IO[str]]:
    path, made = folder / LOG, list[Path]()
    new = not path.exists()
    try:
        made = make_folders(folder)
        file = open(path, "a", buffering=1)  # noqa: SIM115 (closed below)
    except OSError as error:
        remove_empty(made)
        raise UserError(f"run_dir={folder} cannot be written: {error.strerror or error}") from None
    try:
        with file:
            yield file
    except UserError:
        if new and not (folder / "config.yaml").exists():
            path.unlink()
            remove_empty(made)
        raise
