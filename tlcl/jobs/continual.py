"""One continual-learning run from config to report: the order of the steps, and nothing else."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.continual.inputs import IMAGES, check_inputs, frozen_outputs
from tlcl.continual.learner import method_for, prepare, save_method
from tlcl.continual.loop import TaskLoop, task_figures
from tlcl.continual.methods.registry import METHODS
from tlcl.continual.metrics import summarise
from tlcl.continual.state import History, begun_on
from tlcl.continual.stream import Stream
from tlcl.data.sources.registry import load_source
from tlcl.distributed.collectives import leads
from tlcl.distributed.leader import together
from tlcl.finetuning.trainer import settle
from tlcl.jobs.finetune import ready_weights, start_weights
from tlcl.jobs.fit import loggers_for
from tlcl.jobs.outcome import duplicates, export, parameter_counts, record_test
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.weights import load_kept_head
from tlcl.reports.plots.continual import save_matrix_plots
from tlcl.reports.render import render
from tlcl.tracking.accuracy_matrix import write_matrix
from tlcl.tracking.checkpoint import LAST, PREVIOUS
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import seconds_by_part
from tlcl.tracking.wandb import finish_wandb

log = logging.getLogger(__name__)






def check_and_ready(config: Config, checkpoints: Path) -> None:
    """What one process does for all that share a run: see that tasks, network and method fit, and get the weights.

    Raises:
        UserError: they do not fit, or the weights cannot be had.
    """
    prepare(config, load_source(config.data, config.cache_dir))
    check_inputs(config, IMAGES, begun_on(checkpoints))  # several processes work on images
    ready_weights(config)


def run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One whole continual run (or the rest of one) in `directory`, in as many processes as the config says.

    A closed-form method has no gradients that could be shared out: one process adds up every example once.

    Returns:
        Its summary.

    Raises:
        UserError, TrainingError: see `tlcl.errors`.
    """
    config = parse_config(composed)
    assert config.method is not None
    if METHODS[config.method.name].closed_form:
        if config.trainer.shared:
            log.info("method=%s takes no gradient steps: one process runs it", config.method.name)
        return _run(composed, directory)
    ready = partial(check_and_ready, checkpoints=directory.checkpoints)
    return together(_run, composed, directory, ready)


def _run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    started = time.perf_counter()
    config = parse_config(composed)
    assert config.continual is not None
    assert config.method is not None
    device = settle(config, composed)
    source = load_source(config.data, config.cache_dir)
    learner = prepare(config, source)
    stream, net, backbone = learner.stream, learner.net, learner.backbone
    weights = start_network(config, stream, net, backbone)
    directory.begin(composed)
    inputs, test_inputs, versions = stream.source.pool.images, stream.source.test.images, None
    before = begun_on(directory.checkpoints)
    held = None
    if learner.frozen and before != IMAGES:
        held = frozen_outputs(config, net, stream.source, learner.frozen, device)
    if held is not None:
        inputs, test_inputs, versions = held[0].values, held[1].values, held[0].versions
    elif learner.frozen is not None:
        again = method_for(config, net, stream.competing, tuple(inputs.shape[1:]), None)
        learner = learner._replace(frozen=None, network=again[0], method=again[1])
    given = learner.frozen.place if learner.frozen else IMAGES
    check_inputs(config, given, before)
    network, method = learner.network, learner.method
    sizes = [len(task.test) for task in stream.tasks]
    loggers = loggers_for(config, directory)
    tasks = [[stream.names[label] for label in task.members] for task in stream.tasks]
    shown = config.trainer.progress and leads()
    bar = tqdm(total=len(tasks), desc=config.method.name, unit="task", disable=not shown or None)

    def keep_matrix(history: History, figures: dict[str, Any]) -> None:
        write_matrix(directory.path, tasks=tasks, sizes=sizes, figures=figures, **vars(history))

    def on_task(index: int, history: History, seconds: float) -> None:
        figures = task_figures(history, index, sizes)
        for logger in loggers:
            logger.log_metrics(figures)
        directory.append("tasks.jsonl", {**{k.split("/")[-1]: v for k, v in figures.items()}, "seconds": seconds})
        keep_matrix(history, {})
        if index + 1 < len(tasks):  # after the last, everything is drawn
            save_matrix_plots(directory.path)
        bar.update(index + 1 - bar.n)
        log.info(
            "task %d of %d (%s): %.1f %% on all classes so far, %.0f s",
            index + 1, len(tasks), ", ".join(tasks[index]), 100 * figures["continual/cumulative_accuracy"], seconds,
        )  # fmt: skip

    loop = TaskLoop(
        config, directory, stream, net, network, method, inputs, test_inputs, device, loggers, on_task,
        versions, given,
    )
    history = loop.run()
    bar.close()
    if not leads():
        return {}
    figures = summarise(history.matrix, sizes, history.untrained)
    keep_matrix(history, figures)
    labels = stream.source.test.labels
    scores = loop.scores(test_inputs, torch.arange(len(labels)))
    final = scores.masked_fill(~stream.allowed(labels, len(sizes) - 1), -torch.inf)
    tested = record_test(directory, final.softmax(1), stream.source.test)
    save_method(directory, net, method, learner.frozen)
    trained = config.schedule.trainable(config.trainer.epochs - 1)
    validation = None
    if config.data.val_size != 0:
        val_sizes = [len(task.split.val) for task in stream.tasks]
        validation = summarise(np.array(history.val_rows), val_sizes, [float("nan")] * len(sizes))
    summary: dict[str, Any] = {
        "status": "complete",
        "name": config.name,
        "job": "continual",
        "method": vars(config.method),
        "scenario": config.continual.scenario,
        **tested,
        **figures,
        "validation": validation,
        "tasks": tasks,
        "classes": len(stream.names),
        "epochs": None if method.closed_form else config.trainer.epochs,
        "inputs": f"outputs of {given}, computed once" if learner.frozen else IMAGES,
        "train_size": sum(len(task.split.train) for task in stream.tasks),
        "val_size": sum(len(task.split.val) for task in stream.tasks),
        "test_size": len(labels),
        "skipped_images": source.skipped,
        "duplicates_train_test": duplicates(source),
        "weights": weights,
        "model_sha256": export(
            directory, config, net, backbone, stream.source.pool.classes, stream.source.pool.images
        ),
        "parameters": parameter_counts(net, [] if method.closed_form else trained),
        "trained_blocks": [] if method.closed_form else [name for name in net.names if name in trained],
        "precision": config.trainer.precision,
        "processes": 1 if method.closed_form else config.trainer.processes,
        "prefix_cache": [
            {"of": side, **one.record()} for side, one in zip(("train and val", "test"), held or (), strict=False)
        ],
        "seconds_by_part": seconds_by_part(read_lines(directory.path / "timings.jsonl")),
        "seconds": round(time.perf_counter() - started, 1),
    }
    # What is left is the state after the last task; the checkpoints within it would double a run's size.
    for name in (LAST, PREVIOUS):
        (directory.checkpoints / name).unlink(missing_ok=True)
    directory.write_json("summary.json", summary)  # last, as it says that the run is complete
    report = render(directory.path)
    for logger in loggers:
        finish_wandb(logger, directory, summary)
    log.info("accuracy on all classes after the last task: %.4f", summary["final_accuracy"])
    log.info("report: %s", report)
    return summary


def start_network(config: Config, stream: Stream, net: Blocks, backbone: Backbone) -> dict[str, Any]:
    """Load the weights, the head too where it is kept; returns what is recorded of them."""
    assert config.continual is not None
    origin = start_weights(config, net, backbone)
    if config.continual.head == "kept":
        load_kept_head(net, backbone, config.model.weights, stream.names)
    return {**vars(origin), "head": config.continual.head}
