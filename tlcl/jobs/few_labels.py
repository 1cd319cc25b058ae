"""Every method on every ready-made split with few target labels; one cell is one training of seconds."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from tlcl.adaptation.methods.base import NONE
from tlcl.adaptation.methods.registry import build_method, method_class
from tlcl.adaptation.module import AdaptationModule
from tlcl.adaptation.pairs import SOURCE, TARGET, PairedDataModule, hide_labels
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, IndexedDataModule
from tlcl.data.sources.few_label_splits import FewLabelSplit, FewLabelSplitsConfig, Place, find_splits, load_split
from tlcl.data.splits import Split
from tlcl.errors import Stopped, TrainingError
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.trainer import build_trainer, fit, settle
from tlcl.jobs.compare import children, run_name
from tlcl.jobs.pretrain import start_weights
from tlcl.models.build import build_model
from tlcl.models.inference import predict
from tlcl.reports.render import render
from tlcl.reports.tables.few_labels import CELLS, write_few_label_table
from tlcl.system.files import atomic_write_text
from tlcl.tracking.records import RunDirectory, recorded

log = logging.getLogger(__name__)


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
    method, data = build_method(config.adaptation, net, config.seed), paired(split, config)
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


def planned_trainings(config: Config, root: Path) -> list[tuple[str, int, Config]]:
    """(method, seed, config) of each training of a split: those of `compare`, or that of `adaptation`."""
    if config.compare is None:
        assert config.adaptation is not None
        return [(config.adaptation.name, config.seed, config)]
    runs = children(OmegaConf.create(recorded(config)), root)
    return [(text, seed, parse_config(child)) for text, seed, child in runs]


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run the cells that are not finished yet, one after another; returns the summary.

    Each split's number of labelled images a class takes the place of `adaptation.target_labels`. A cell that stops
    with a loss that is not finite is named in the summary; the others go on.

    Raises:
        UserError, Interrupted: see `tlcl.errors`.
    """
    started = time.perf_counter()
    assert isinstance(config.data, FewLabelSplitsConfig)
    device, places = settle(config), find_splits(config.data)
    planned = planned_trainings(config, directory.path)
    for _, _, child in planned:  # a mistake in the last method shows at once
        assert child.adaptation is not None
        build_method(child.adaptation, build_model(child.model, 2, child.seed)[0], child.seed)
    directory.begin(config)
    folder, stopped = directory.path / CELLS, dict[str, str]()
    folder.mkdir(exist_ok=True)
    with tqdm(
        total=len(places) * len(planned),
        desc="splits",
        unit="run",
        disable=None if config.trainer.progress else True,
    ) as bar:
        for place in places:
            split = load_split(place)
            for text, seed, child in planned:
                path = cell_path(folder, place, text, seed)
                if not path.is_file():
                    assert child.adaptation is not None
                    if hasattr(child.adaptation, "target_labels"):
                        child.adaptation.target_labels = place.shots
                    try:
                        figures = run_cell(child, split, directory.path, device)
                    except Stopped:
                        raise
                    except TrainingError as error:
                        log.warning("warning: %s stopped: %s", path.stem, error)
                        stopped[path.stem] = str(error)
                        continue
                    finally:
                        bar.update()
                    about = {**place._asdict(), "path": place.path.name, "method": text, "seed": seed}
                    atomic_write_text(path, json.dumps({**about, **figures}) + "\n")
                    log.info("%s: %.1f %%", path.stem, 100 * figures["test_acc"])
                else:
                    bar.update()
    summary = {
        "status": "complete",
        "name": config.name,
        "job": "few_labels",
        "table": write_few_label_table(directory.path),
        "stopped": stopped,
        "seconds": round(time.perf_counter() - started, 1),
    }
    directory.write_json("summary.json", summary)
    report = render(directory.path)
    log.info("report: %s", report)
    return summary
