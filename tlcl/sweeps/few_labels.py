"""Every method on every ready-made split with few target labels; one cell is one training of seconds."""

import json
import logging
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tlcl.adaptation.methods.base import NONE
from tlcl.adaptation.methods.registry import build_method, method_class
from tlcl.adaptation.module import AdaptationModule
from tlcl.adaptation.pairs import SOURCE, TARGET, PairedDataModule, hide_labels
from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, IndexedDataModule
from tlcl.data.sources.few_label_splits import FewLabelSplit, FewLabelSplitsConfig, Place, find_splits, load_split
from tlcl.data.splits import Split
from tlcl.errors import Stopped, TrainingError, as_sentences
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.trainer import build_trainer, choose_device, fit
from tlcl.jobs.pretrain import check_weights, start_weights
from tlcl.models.build import build_model
from tlcl.models.inference import predict
from tlcl.reports.tables.few_labels import CELLS, write_few_label_table
from tlcl.sweeps.compare import children, run_name
from tlcl.sweeps.engine import conclude_job, run_plan
from tlcl.system.files import atomic_write_text
from tlcl.tracking.data_record import data_record, share_record
from tlcl.tracking.finished_run import COMPLETE, FAILURE, MISSING
from tlcl.tracking.records import RunDirectory, read_object
from tlcl.tracking.sweep_records import RunRecord, Value

log = logging.getLogger(__name__)
FAILURES = "failed"  # the folder of what is known of cells that failed; among the cells it would be one of them
loaded = lru_cache(maxsize=1)(load_split)  # all methods and seeds of a split follow each other


def paired(split: FewLabelSplit, config: Config) -> PairedDataModule:
    """All of the source, and the labelled target images, their labels hidden from a method that wants none."""
    assert config.adaptation is not None
    kind, nothing = method_class(config.adaptation), torch.zeros(0, dtype=torch.int64)
    every = [torch.arange(len(part)) for part in (split.source, split.target)]
    known = nothing if kind.supervision == NONE else every[TARGET]
    labels = [split.source.labels, hide_labels(split.target.labels, known)]
    domains = [
        IndexedDataModule(part.images, labels[place], Split(every[place], nothing), config.data, config.seed, place)
        for place, part in ((SOURCE, split.source), (TARGET, split.target))
    ]
    return PairedDataModule(domains[SOURCE], domains[TARGET], known, unlabelled=kind.unlabelled)


def run_cell(config: Config, split: FewLabelSplit, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train on one split and test after the last epoch.

    Returns:
        `test_acc`, `unseen_acc` (without the test images that are also among the labelled ones), `seen` (how many
        those are) and `seconds`.

    Raises:
        TrainingError: a loss that is not finite; Interrupted: by Ctrl-C.
    """
    assert config.adaptation is not None
    start, classes = time.perf_counter(), len(split.source.classes)
    net, backbone = build_model(config.model, classes, config.seed)
    start_weights(config, net, backbone)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    method, data = build_method(config.adaptation.on(config.model.name), net, config.seed), paired(split, config)
    module = AdaptationModule(net, method, classes, config.optim, config.seed, config.trainer.log_every)
    quiet = replace(config, trainer=replace(config.trainer, progress=False))
    trainer = build_trainer(
        quiet, folder, [Thaw(config.schedule)], [], enable_checkpointing=False, limit_val_batches=0
    )
    fit(trainer, module, data, None, folder)
    method.finish(net.to(device), data.target_images)
    precision = config.trainer.precision
    answers = predict(net, split.test.images, batch_size=EVAL_BATCH, device=device, precision=precision).argmax(1)
    right, unseen = (answers == split.test.labels).double(), ~split.seen()
    return {
        "test_acc": float(right.mean()),
        "unseen_acc": float(right[unseen].mean()),
        "seen": int((~unseen).sum()),
        "seconds": round(time.perf_counter() - start, 2),
    }


def cell_path(folder: Path, place: Place, method: str, seed: int) -> Path:
    """Where the figures of one cell are kept."""
    split = f"{place.source}_to_{place.target}_rep{place.repetition}_n{place.shots}"
    return folder / f"{split}_{run_name(method, seed)}.json"


@dataclass(frozen=True, eq=False)
class Cell:
    """One training on one split: an entry of a plan that leaves one file, `cells/NAME.json`.

    Attributes:
        place: of the split; its number of labelled images a class takes the place of `adaptation.target_labels`.
        root: the run directory.
    """

    place: Place
    method: str
    seed: int
    config: Config
    root: Path
    device: torch.device
    weight: float = 1.0

    @property
    def path(self) -> Path:
        return cell_path(self.root / CELLS, self.place, self.method, self.seed)

    @property
    def failed(self) -> Path:
        return self.root / FAILURES / self.path.name

    @property
    def done(self) -> bool:
        return self.path.is_file()

    @property
    def title(self) -> str:
        return ""  # said with its figure when it has ended

    def perform(self) -> str | None:
        assert self.config.adaptation is not None
        adaptation = replace(self.config.adaptation)
        if hasattr(adaptation, "target_labels"):
            adaptation.target_labels = self.place.shots
        try:
            with as_sentences(self.config, self.root):
                config, split = replace(self.config, adaptation=adaptation), loaded(self.place)
                names = ("source's training", "target's training", "target's test")
                parts = dict(zip(names, (split.source, split.target, split.test), strict=True))
                share_record(self.path, f"{self.place.path.name} {self.place.shots}", data_record(parts))
                figures = run_cell(config, split, self.root, self.device)
        except Stopped:
            raise
        except TrainingError as error:
            log.warning("warning: %s stopped: %s", self.path.stem, error)
            return str(error)
        about = {**self.place._asdict(), "path": self.place.path.name, "method": self.method, "seed": self.seed}
        atomic_write_text(self.path, json.dumps({**about, **figures}) + "\n")
        log.info("%s: %.1f %%", self.path.stem, 100 * figures["test_acc"])
        return None

    def row(self, number: int, root: Path) -> RunRecord:
        place, failure = self.place, read_object(self.failed)
        settings: dict[str, Value] = {
            "source": place.source, "target": place.target, "repetition": place.repetition, "shots": place.shots,
            "method": self.method, "seed": self.seed,
        }  # fmt: skip
        figures = read_object(self.path)
        status = COMPLETE if figures else FAILURE if failure else MISSING
        reason = "" if figures else failure.get("sentence", "")
        return RunRecord(number, self.path.relative_to(root), settings, status, reason, figures)


def planned_trainings(config: Config, root: Path) -> list[tuple[str, int, Config]]:
    """(method, seed, config) of each training of a split: those of `compare`, or that of `adaptation`."""
    if config.compare is None:
        assert config.adaptation is not None
        return [(config.adaptation.name, config.seed, config)]
    return [(str(run.settings["method"]), run.config.seed, run.config) for run in children(config, root)]


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run the cells that are not finished yet, `compare.jobs` at once; returns the summary.

    A cell that stops with a loss that is not finite is named in the summary; the others go on.

    Raises:
        UserError, TrainingError: see `conclude_job`.
    """
    root = directory.path
    assert isinstance(config.data, FewLabelSplitsConfig)
    device, places = choose_device(config), find_splits(config.data)
    planned = planned_trainings(config, root)
    for _, _, child in planned:  # a mistake in the last method shows at once
        assert child.adaptation is not None
        build_method(child.adaptation.on(child.model.name), build_model(child.model, 2, child.seed)[0], child.seed)
    check_weights(config)
    directory.begin(config)
    (root / "summary.json").unlink(missing_ok=True)  # of a time when some failed
    (root / CELLS).mkdir(exist_ok=True)
    loaded.cache_clear()
    plan = [Cell(place, text, seed, child, root, device) for place in places for text, seed, child in planned]
    jobs = 1 if config.compare is None else config.compare.jobs
    rows = run_plan(
        root, plan, "splits", jobs=jobs, progress=config.trainer.progress,
        after=lambda rows: directory.keep_seconds(),
    )  # fmt: skip
    about = {
        "name": config.name,
        "job": "few_labels",
        "table": write_few_label_table(root),
        "seconds": round(directory.seconds, 1),
    }
    summary = conclude_job(directory, plan, rows, about)
    directory.stop_clock()
    return summary
