"""One fine-tuning run from config to report: the order of the steps, and nothing else."""

import logging
import time
from typing import Any

import torch
from omegaconf import DictConfig

from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, ImageDataModule
from tlcl.data.sources.registry import load_source
from tlcl.distributed.leader import together
from tlcl.explain.cka import copy_before_training, similarities_on
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.trainer import settle
from tlcl.jobs.fit import select_weights, train
from tlcl.jobs.outcome import duplicates, export, parameter_counts, record_test
from tlcl.jobs.pretrain import pretrained_on_letters
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.weights import Origin, apply_weights
from tlcl.prefix_cache.callback import ServePrefix, versions_for
from tlcl.prefix_cache.classify import classify, split_at_frozen
from tlcl.reports.finetune import write_report
from tlcl.reports.plots.training import save_plots
from tlcl.tracking.checkpoint import (
    PREVIOUS,
    BestWeights,
)
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import Stopwatch, seconds_by_part
from tlcl.tracking.wandb import finish_wandb

log = logging.getLogger(__name__)




def start_weights(config: Config, net: Blocks, backbone: Backbone) -> Origin:
    """Load what `model.weights` names into `net`; the letters' backbone is trained first when it is not there."""
    if config.model.weights != "letters":
        return apply_weights(net, backbone, config.model.weights)
    origin = apply_weights(net, backbone, str(pretrained_on_letters(config, run)))
    return Origin("letters", origin.path, origin.sha256)


















def ready_weights(config: Config) -> None:
    """Train the letters' backbone, when it is wanted and not there: alone, before other processes join."""
    if config.model.weights == "letters":
        pretrained_on_letters(config, run)


def check_and_ready(config: Config) -> None:
    """What one process does for all of a run: see that the data is there (decoded once, for all), and the weights.

    Raises:
        UserError: the data or the weights cannot be had.
    """
    ImageDataModule(load_source(config.data, config.cache_dir), config.data, config.seed)
    ready_weights(config)


def run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One whole fine-tuning run (or the rest of one) in `directory`, in as many processes as the config says.

    Returns:
        Its summary.

    Raises:
        UserError, TrainingError: see `tlcl.errors`.
    """
    return together(_run, composed, directory, check_and_ready)


def _run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    started = time.perf_counter()
    config = parse_config(composed)
    device = settle(config, composed)
    source = load_source(config.data, config.cache_dir)
    data = ImageDataModule(source, config.data, config.seed)
    net, backbone = build_model(config.model, len(data.classes), config.seed)
    origin = start_weights(config, net, backbone)
    directory.begin(composed)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    trained = config.schedule.trainable(config.trainer.epochs - 1)
    untrained = copy_before_training(net, trained)

    module = FinetuningModule(net, len(data.classes), config.optim, config.seed, config.trainer.log_every)
    watch, versions = Stopwatch(), versions_for(config)
    prefix = [] if versions is None else [ServePrefix(config, data, versions, watch)]
    best = BestWeights(directory.checkpoints, watch)
    trainer = train(config, directory, module, data, watch, prefix=prefix, best=[best])
    if not trainer.is_global_zero:
        return {}

    chosen = select_weights(config, directory, net)
    probabilities = classify(
        split_at_frozen(net, config),
        source.test.images,
        config,
        device,
        batch_size=max(EVAL_BATCH, config.data.batch_size),
        progress=None,
    )
    scores = record_test(directory, probabilities, source.test)
    summary: dict[str, Any] = {
        "status": "complete",
        "name": config.name,
        "job": "finetune",
        **scores,
        "selected": chosen[config.trainer.select],
        "best": chosen["best"],
        "last": chosen["last"],
        "epochs": config.trainer.epochs,
        "train_size": len(data.split.train),
        "val_size": len(data.split.val),
        "test_size": len(source.test),
        "classes": len(data.classes),
        "skipped_images": source.skipped,
        "duplicates_train_test": duplicates(source),
        "weights": vars(origin),
        "cka": similarities_on(source.test.images, untrained, net, device, config.trainer.precision),
        "model_sha256": export(directory, config, net, backbone, data.classes, source.pool.images),
        "parameters": parameter_counts(net, trained),
        "trained_blocks": [name for name in net.names if name in trained],
        "precision": config.trainer.precision,
        "processes": config.trainer.processes,
        "prefix_cache": [record for callback in prefix for record in callback.records],
        "seconds_by_part": seconds_by_part(read_lines(directory.path / "timings.jsonl")),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (directory.checkpoints / PREVIOUS).unlink(missing_ok=True)
    directory.write_json("summary.json", summary)  # last, as it says that the run is complete
    save_plots(directory.path)
    report = write_report(directory.path)
    for logger in trainer.loggers:
        finish_wandb(logger, directory, summary)
    log.info(
        "test accuracy %.4f on %d images (%s epoch %d)",
        scores["test_acc"],
        len(source.test),
        config.trainer.select,
        chosen[config.trainer.select]["epoch"],
    )
    log.info("report: %s", report)
    return summary
