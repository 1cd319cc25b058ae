"""Continual learning: what it has of its own in the order that `run_job` keeps."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.continual.inputs import IMAGES, check_inputs, frozen_outputs
from tlcl.continual.learner import answers_itself, method_for, prepare, save_method
from tlcl.continual.loop import TaskLoop, task_figures
from tlcl.continual.methods.registry import method_class
from tlcl.continual.metrics import summarise
from tlcl.continual.state import History, begun_on
from tlcl.continual.stream import of_one_task
from tlcl.continual.temperature import HeldOutScores, calibration_of, held_out_features, temperature_of
from tlcl.data.sources.registry import load_source
from tlcl.errors import TrainingError, UserError
from tlcl.jobs.fit import loggers_for
from tlcl.jobs.job import Job, run_job
from tlcl.jobs.pretrain import start_weights
from tlcl.models.blocks import place_words
from tlcl.models.weights import load_kept_head
from tlcl.prefix_cache.activations import Held
from tlcl.reports.plots.continual import save_matrix_plots, what_comes
from tlcl.statistics.calibration import negative_log_likelihood, reliability, too_few
from tlcl.tracking.accuracy_matrix import task_names, write_matrix
from tlcl.tracking.calibration import write_calibration
from tlcl.tracking.checkpoint import LAST, PREVIOUS
from tlcl.tracking.data_record import Parts
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)


class Continual(Job):
    """A stream of tasks, one after another, by a method against forgetting."""

    name = "continual"
    # What is left is the state after the last task; the checkpoints within it would double a run's size.
    surplus = (LAST, PREVIOUS)

    @classmethod
    def check(cls, configs: Sequence[Config]) -> None:
        source = load_source(configs[0].data, configs[0].cache_dir)
        for config in configs:
            learner = prepare(config, source)
            if config.continual is not None and config.continual.head == "kept":
                classes = learner.stream.source.pool.classes
                load_kept_head(learner.net, learner.backbone, config.model.weights, classes)

    @classmethod
    def shares(cls, config: Config) -> bool:
        """A closed-form method has no gradients to share out: one process adds up every example once."""
        assert config.method is not None
        closed_form = method_class(config.method).closed_form
        if closed_form and config.trainer.shared:
            log.info("method=%s takes no gradient steps: one process runs it", config.method.name)
        return not closed_form

    @classmethod
    def check_resumed(cls, config: Config, checkpoints: Path) -> None:
        check_inputs(config, IMAGES, begun_on(checkpoints))  # several processes work on images

    def build(self) -> None:
        config = self.config
        self.data = load_source(config.data, config.cache_dir)
        self.learner = prepare(config, self.data)
        self.stream, self.net, self.backbone = self.learner.stream, self.learner.net, self.learner.backbone
        self.source = self.stream.source
        self.classes = len(self.data.domain_classes or self.stream.names)
        self.sizes = [len(task.test) for task in self.stream.tasks]
        self.tasks = [[self.stream.names[label] for label in task.members] for task in self.stream.tasks]

    @property
    def parts(self) -> Parts:
        return {"training": self.data.pool, "test": self.data.test}

    def load_weights(self) -> dict[str, Any]:
        assert self.config.continual is not None
        assert self.config.method is not None
        if self.learner.method.closed_form and self.config.model.weights == "none":
            log.warning(
                "warning: model.weights=none: method=%s classifies by features that have learned nothing",
                self.config.method.name,
            )
        origin, head = start_weights(self.config, self.net, self.backbone), self.config.continual.head
        if head == "kept":
            load_kept_head(self.net, self.backbone, self.config.model.weights, self.source.pool.classes)
        return {**vars(origin), "head": head}

    def _inputs(self) -> tuple[Tensor, Tensor, int | None]:
        """What the method is given of the pool and of the test set, and how many versions of each of the pool's.

        Images, or outputs of frozen blocks, unless those cannot be kept.
        """
        learner, pool, test = self.learner, self.source.pool.images, self.source.test.images
        before = begun_on(self.directory.checkpoints)
        self.held: tuple[Held, Held] | None = None
        if learner.frozen and before != IMAGES:
            self.held = frozen_outputs(self.config, self.net, self.source, learner.frozen, self.device)
        if learner.frozen and self.held is None:
            shape = tuple(pool.shape[1:])
            network, method = method_for(self.config, self.net, self.stream.competing, shape, None)
            self.learner = learner._replace(frozen=None, network=network, method=method)
        self.given = self.learner.frozen.place if self.learner.frozen else IMAGES
        check_inputs(self.config, self.given, before)
        if self.held is None:
            return pool, test, None
        return self.held[0].values, self.held[1].values, self.held[0].versions

    def train(self) -> list[Any]:
        config = self.config
        assert config.method is not None
        inputs, self.test_inputs, versions = self._inputs()
        self.loggers = loggers_for(config, self.directory)
        self.loop = TaskLoop(
            config, self.directory, self.stream, self.net, self.learner.network, self.learner.method, inputs,
            self.test_inputs, self.device, self.loggers, self._record_task, versions, self.given,
        )  # fmt: skip
        self.history = self.loop.run()
        return self.loggers

    def _record_task(self, index: int, history: History, seconds: float) -> None:
        figures = task_figures(history, index, self.sizes)
        for logger in self.loggers:
            logger.log_metrics(figures)
        line = {**{key.split("/")[-1]: value for key, value in figures.items()}, "seconds": seconds}
        self.directory.append("tasks.jsonl", line)
        self._write_matrix(history, {})
        if index + 1 < len(self.tasks):  # after the last, everything is drawn
            save_matrix_plots(self.directory.path)
        log.info(
            "task %d of %d (%s): %.1f %% on all %s so far, %.0f s", index + 1, len(self.tasks),
            task_names(self.tasks)[index], 100 * figures["continual/cumulative_accuracy"],
            self._comes, seconds,
        )  # fmt: skip

    def _write_matrix(self, history: History, figures: dict[str, Any]) -> None:
        write_matrix(self.directory.path, tasks=self.tasks, sizes=self.sizes, figures=figures, **vars(history))

    def choose(self) -> None:
        """The weights after the last task are those of the loop."""
        self.figures = summarise(self.history.matrix, self.sizes, self.history.untrained)
        self._write_matrix(self.history, self.figures)

    def test(self) -> Tensor:
        labels = self.source.test.labels
        held_out = self._held_out()
        possible = self._possible(held_out.scores, held_out.labels)
        self.temperature = temperature_of(held_out._replace(scores=possible))
        raw = self.loop.scores(self.test_inputs, torch.arange(len(labels)))
        if bool(raw.isnan().any()):  # the last step of a training may be the one that went too far
            raise TrainingError("what the model answers is not a number after the last task; try a lower optim.lr")
        scores = self._possible(raw, labels)
        self.task_given = self._task_given(raw, labels)
        untold = temperature_of(held_out)  # of a new image the task is not known: all classes compete
        save_method(self.directory, self.net, self.learner.method, self.learner.frozen, untold.value)
        itself = answers_itself(self.learner.method)
        write_calibration(self.directory, calibration_of(held_out, untold, itself))
        self.probabilities = (scores / self.temperature.value).softmax(1)
        self._unscaled = scores.softmax(1)
        return self.probabilities

    def _possible(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Of scores after the last task, -inf for what cannot be the answer."""
        return scores.masked_fill(~self.stream.allowed(labels, len(self.sizes) - 1), -torch.inf)

    def _task_given(self, scores: Tensor, labels: Tensor) -> float | None:
        """The same network's accuracy where only the classes of an image's task may be the answer."""
        assert self.config.continual is not None
        if self.config.continual.scenario != "class_incremental":
            return None
        rivals = of_one_task(self.stream.tasks, self.stream.num_outputs)
        answers = scores.masked_fill(~rivals[labels], -torch.inf).argmax(1)
        return float((answers == labels).double().mean())

    def _held_out(self) -> HeldOutScores:
        """All scores of the validation images; of a closed form with too few, of a part of the training images."""
        config, labels = self.config, self.source.pool.labels
        held = torch.cat([task.split.val for task in self.stream.tasks])
        if not too_few(len(held)) or not self.learner.method.closed_form:
            scores = torch.empty(0, self.stream.num_outputs)
            if len(held):
                scores = self.loop.scores(self.loop.inputs, held)
            return HeldOutScores(scores, labels[held], "validation images of all tasks")
        shape = tuple(self.source.pool.images.shape[1:])
        try:
            network, method = method_for(config, self.net, self.stream.competing, shape, self.learner.frozen)
        except UserError as error:  # a second one takes more memory than there is
            return HeldOutScores(torch.empty(0, self.stream.num_outputs), labels[:0], f"training images ({error})")
        log.info("how sure the answers may be: the method is fitted without some of the images")
        return held_out_features(method, network, self.stream, self.loop.inputs, self.device, config.seed)

    @property
    def trained(self) -> frozenset[str]:
        return frozenset() if self.learner.method.closed_form else super().trained

    def summary(self) -> dict[str, Any]:
        config, closed_form = self.config, self.learner.method.closed_form
        assert config.continual is not None
        validation, calibration = None, self._calibration()
        if config.data.val_size != 0:
            sizes = [len(task.split.val) for task in self.stream.tasks]
            validation = summarise(np.array(self.history.val_rows), sizes, [float("nan")] * len(sizes))
        return {
            "method": self.learner.method.settings(),
            "scenario": config.continual.scenario,
            **self.figures,
            "task_given_accuracy": self.task_given,
            "mean_confidence": calibration["test_confidence_after"],
            "validation": validation,
            "calibration": calibration,
            "tasks": self.tasks,
            "epochs": None if closed_form else config.trainer.epochs,
            "inputs": f"outputs of {place_words(self.given)}, computed once" if self.learner.frozen else IMAGES,
            "train_size": sum(len(task.split.train) for task in self.stream.tasks),
            "val_size": sum(len(task.split.val) for task in self.stream.tasks),
            "processes": 1 if closed_form else config.trainer.processes,
            "prefix_cache": [
                {"of": side, **one.record()}
                for side, one in zip(("train and val", "test"), self.held or (), strict=False)
            ],
        }

    def _calibration(self) -> dict[str, Any]:
        """How sure the answers to the test images are, and how much surer or less sure without the temperature."""
        labels, fitted = self.source.test.labels.numpy(), self.temperature
        record: dict[str, Any] = {
            "temperature": fitted.value, "reason": fitted.reason, "images": fitted.images, "held_out": fitted.which,
        }  # fmt: skip
        for when, given in (("before", self._unscaled), ("after", self.probabilities)):
            record[f"test_confidence_{when}"] = float(given.max(1).values.double().mean())
            record[f"test_ece_{when}"] = reliability(given.numpy(), labels).ece
            record[f"test_nll_{when}"] = negative_log_likelihood(given.numpy(), labels)
        return record

    def sentence(self, summary: dict[str, Any]) -> str:
        return f"accuracy on all {self._comes} after the last task: {summary['final_accuracy']:.4f}"

    @property
    def _comes(self) -> str:
        assert self.config.continual is not None
        return what_comes(self.config.continual.scenario)


check = Continual.check


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """One whole continual run, or the rest of one, see `run_job`."""
    return run_job(Continual, config, directory)
