"""The spine of every job that trains: settle, build, weights, begin, train, choose, test, summary, report.

A kind of job says what is its own; `run_job` keeps the order and writes what all of them record.
"""

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.data.image_tensors import Source
from tlcl.distributed.collectives import leads
from tlcl.distributed.leader import together
from tlcl.finetuning.thaw import learning_blocks
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.more_epochs import extend
from tlcl.jobs.outcome import duplicates, export, parameter_counts, record_test
from tlcl.jobs.pretrain import ready_weights
from tlcl.jobs.remarks import idle_words, resized_words, taught_size_words
from tlcl.models.blocks import Backbone, Blocks
from tlcl.reports.render import render
from tlcl.tracking.calibration import Calibration
from tlcl.tracking.checkpoint import PREVIOUS
from tlcl.tracking.data_record import (
    DATA,
    Parts,
    data_record,
    data_set,
    refuse_changed,
    refuse_different,
    share_record,
)
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import seconds_by_part
from tlcl.tracking.wandb import finish_wandb

log = logging.getLogger(__name__)


class Job(ABC):
    """What one kind of job has of its own.

    Attributes:
        name: its kind, see `tlcl.config.kinds`.
        surplus: checkpoints that a finished run has no more use for.
        calibration: how sure the tested answers may be; `test` sets it where images are held out for that.
        net, backbone, source, classes: set by `build`: the network, what it is made from, the data whose test
            images are answered, and the number of its classes.
    """

    name: ClassVar[str]
    surplus: ClassVar[tuple[str, ...]] = (PREVIOUS,)
    calibration = Calibration()
    net: Blocks
    backbone: Backbone
    source: Source
    classes: int

    def __init__(self, config: Config, directory: RunDirectory, device: torch.device) -> None:
        self.config, self.directory, self.device = config, directory, device

    @classmethod
    @abstractmethod
    def check(cls, configs: Sequence[Config]) -> None:
        """See that data, network and method fit each other, without training, in configs of the same data.

        Raises:
            UserError: they do not.
        """

    @classmethod
    def shares(cls, config: Config) -> bool:
        """Whether the other processes that the config asks for have a part in it."""
        return True

    @classmethod
    def ready(cls, config: Config, checkpoints: Path) -> None:
        """What one process does for all that share a run: check it, and get the weights.

        Raises:
            UserError: the data or the weights cannot be had.
        """
        cls.check([config])
        cls.check_resumed(config, checkpoints)
        ready_weights(config)

    @classmethod
    def check_resumed(cls, config: Config, checkpoints: Path) -> None:
        """See that what began can be resumed in several processes.

        Raises:
            UserError: it cannot.
        """
        return

    @abstractmethod
    def build(self) -> None:
        """Load the data and build what learns.

        Raises:
            UserError: every mistake that shows without training.
        """

    @abstractmethod
    def load_weights(self) -> dict[str, Any]:
        """Load the weights that the training starts from; returns what is recorded of them."""

    @abstractmethod
    def train(self) -> list[Any]:
        """Train from the last whole checkpoint on; returns the loggers."""

    @abstractmethod
    def choose(self) -> None:
        """Load the weights that are tested."""

    @abstractmethod
    def test(self) -> Tensor:
        """Class probabilities (N, K) of the test images."""

    @property
    def trained(self) -> frozenset[str]:
        """The blocks that were trained."""
        return self.config.schedule.trainable(self.config.trainer.epochs - 1)

    def learning(self) -> list[str]:
        """Those of them in which something learned."""
        return learning_blocks(self.net, self.trained, self.config.schedule.only)

    @property
    def parts(self) -> Parts:
        """All data that are trained or tested on, which must be the same when the run is resumed."""
        return {"training": self.source.pool, "test": self.source.test}

    @property
    def doubled(self) -> tuple[str, ...]:
        """Checkpoints of a finished run whose weights are those of its model, and nothing else."""
        return ()

    def parameters(self) -> dict[str, int]:
        """How many there are, and how many were trained."""
        return parameter_counts(self.net, self.trained, self.config.schedule.only)

    @property
    def duplicates(self) -> int:
        """How many test images are also, pixel for pixel, among those that are learned from."""
        return duplicates(self.source)

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What this kind records beside what all record; a key of those takes its place."""

    @abstractmethod
    def sentence(self, summary: dict[str, Any]) -> str:
        """What is said at the end."""


def run_job(kind: type[Job], config: Config, directory: RunDirectory) -> dict[str, Any]:
    """One whole run (or the rest of one) in `directory`, in as many processes as the config says.

    Returns:
        Its summary.

    Raises:
        UserError, TrainingError: see `tlcl.errors`.
    """
    if not kind.shares(config):
        return _run(kind, config, directory)
    ready = partial(kind.ready, config, directory.checkpoints)
    return together(partial(_run, kind), config, directory, ready)


def _run(kind: type[Job], config: Config, directory: RunDirectory) -> dict[str, Any]:
    job = kind(config, directory, choose_device(config))
    if leads():
        log.info("loading the data: %s", config.data.source)
    job.build()
    for words in (resized_words(config), taught_size_words(config)) if leads() else ():
        if words:
            log.info("%s", words)
    thawed = config.schedule.trainable(config.trainer.epochs - 1)
    if leads() and (idle := idle_words(job.net, thawed, config.schedule.only)):
        log.warning("%s", idle)
    record = data_record(job.parts)
    if directory.begun:
        refuse_changed(directory.path, record)
    else:
        (share_record if leads() else refuse_different)(directory.path, data_set(config), record)
    weights, begun = job.load_weights(), directory.begun
    directory.begin(config, {DATA: record})
    if begun and leads():
        extend(directory, config)
    if config.trainer.channels_last:
        job.net.to(memory_format=torch.channels_last)
    loggers = job.train()
    if not leads():
        return {}
    log.info("testing on %s images", f"{len(job.source.test):,}")
    job.choose()
    probabilities = job.test()
    tested = record_test(directory, probabilities, job.source.test, job.calibration)
    pool = job.source.pool
    summary: dict[str, Any] = {
        "status": "complete",
        "name": config.name,
        "job": kind.name,
        **tested,
        "epochs": config.trainer.epochs,
        "test_size": len(job.source.test),
        "classes": job.classes,
        "skipped_images": job.source.skipped,
        "duplicates_train_test": job.duplicates,
        "weights": weights,
        **job.summary(),
        "model_sha256": export(directory, config, job.net, job.backbone, pool.classes, pool.images),
        "parameters": job.parameters(),
        "blocks": list(job.net.names),
        "thawed_blocks": [name for name in job.net.names if name in job.trained],
        "trained_blocks": job.learning(),
        "precision": config.trainer.precision,
        "seconds_by_part": seconds_by_part(read_lines(directory.path / "timings.jsonl")),
        "seconds": round(directory.seconds, 1),
    }
    for name in job.surplus:
        (directory.checkpoints / name).unlink(missing_ok=True)
    directory.write_json("summary.json", summary)  # last, as it says that the run is complete
    if config.keep == "model":
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
    for name in job.doubled:
        (directory.checkpoints / name).unlink(missing_ok=True)
    directory.stop_clock()
    log.info("drawing the report")
    report = render(directory.path)
    log.info("%s", job.sentence(summary))
    for logger in loggers:
        finish_wandb(logger, directory, summary)
    log.info("report: %s", report)
    return summary
