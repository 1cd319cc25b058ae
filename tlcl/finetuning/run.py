"""One fine-tuning run from config to report: the order of the steps, and nothing else."""

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save
from torch import Tensor

from tlcl.atomic import atomic_open
from tlcl.config import Config
from tlcl.data.datamodule import EVAL_BATCH, ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources import load_source
from tlcl.explain.cka import copy_before_training, similarities_on
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.prefix import ServePrefix, classify, split_at_frozen, versions_for
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.trainer import build_trainer, fit, settle
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.weights import RUN_MODEL, Origin, apply_weights, file_sha256
from tlcl.parse import parse_config
from tlcl.pretraining import pretrained_on_letters
from tlcl.processes import together
from tlcl.ranks import leads
from tlcl.tracking.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    BestWeights,
    LastCheckpoint,
    latest_checkpoint,
    read_checkpoint,
    require_network,
)
from tlcl.tracking.plots import save_plots
from tlcl.tracking.records import EpochRecords, RunDirectory, read_lines
from tlcl.tracking.report import write_report
from tlcl.tracking.time_plot import seconds_by_part
from tlcl.tracking.timings import EpochTimings, Stopwatch
from tlcl.tracking.wandb import build_wandb, finish_wandb

log = logging.getLogger(__name__)
MISTAKES = 25


def duplicates(source: Source) -> int:
    """How many test images are also, pixel for pixel, among the training and validation images."""
    pool = {image.numpy().tobytes() for image in source.pool.images}
    return sum(image.numpy().tobytes() in pool for image in source.test.images)


def start_weights(config: Config, net: Blocks, backbone: Backbone) -> Origin:
    """Load what `model.weights` names into `net`; the letters' backbone is trained first when it is not there."""
    if config.model.weights != "letters":
        return apply_weights(net, backbone, config.model.weights)
    origin = apply_weights(net, backbone, str(pretrained_on_letters(config, run)))
    return Origin("letters", origin.path, origin.sha256)


def loggers_for(config: Config, directory: RunDirectory) -> list[Any]:
    """W&B's logger of this run directory, or none."""
    if config.logger.name != "wandb" or not leads():
        return []
    composed = OmegaConf.to_container(OmegaConf.load(directory.path / "config.yaml"))
    return [build_wandb(config, directory, cast(dict[str, Any], composed))]


def _resume_point(directory: RunDirectory, net: Blocks) -> tuple[Path | None, int]:
    """The checkpoint to go on from, if there is one, and how many epochs it has behind it."""
    found = latest_checkpoint(directory.checkpoints)
    if found is None:
        return None, 0
    path, content = found
    require_network(path, content, net)
    done = int(content["epoch"]) + 1
    log.info("resuming after epoch %d of %s", done - 1, directory.path)
    return path, done


def train(
    config: Config,
    directory: RunDirectory,
    module: FinetuningModule,
    data: L.LightningDataModule,
    watch: Stopwatch,
    *,
    prefix: Sequence[ServePrefix] = (),
    best: Sequence[BestWeights] = (),
) -> L.Trainer:
    """Train from the last whole checkpoint, or from the start when there is none."""
    callbacks: list[L.Callback] = [
        *prefix,
        Thaw(config.schedule),
        EpochRecords(directory),
        *best,
        LastCheckpoint(directory.checkpoints, watch),
        EpochTimings(directory, watch),
    ]
    trainer = build_trainer(config, directory.path, callbacks, loggers_for(config, directory))
    checkpoint, done = _resume_point(directory, module.net)
    for name in ("metrics.jsonl", "timings.jsonl"):
        directory.keep_lines(name, lambda line: line["epoch"] < done)
    fit(trainer, module, data, checkpoint, directory.path)
    return trainer


def load_last(directory: RunDirectory, net: Blocks) -> None:
    """Load the weights after the last epoch into `net`."""
    state = read_checkpoint(directory.checkpoints / LAST)["state_dict"]
    net.load_state_dict({key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")})


def select_weights(config: Config, directory: RunDirectory, net: Blocks) -> dict[str, Any]:
    """Load the weights that `trainer.select` names into `net`; return epoch and validation figures of both."""
    lines = {line["epoch"]: line for line in read_lines(directory.path / "metrics.jsonl")}
    best = read_checkpoint(directory.checkpoints / BEST)
    epochs = {"best": int(best["epoch"]), "last": max(lines)}
    if config.trainer.select == "best":
        net.load_state_dict(best["net"])
    else:
        load_last(directory, net)
    return {
        name: {
            "checkpoint": name,
            "epoch": epoch,
            "val_acc": lines[epoch]["val/acc"],
            "val_loss": lines[epoch]["val/loss"],
        }
        for name, epoch in epochs.items()
    }


def export(
    directory: RunDirectory, config: Config, net: Blocks, backbone: Backbone, classes: Sequence[str], images: Tensor
) -> str:
    """Write `model.safetensors` (the library's own key names) and `labels.json`; return the SHA-256.

    `images` (N, C, H, W) tells the stored images' channels and size.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in backbone.native_state(net).items()}
    with atomic_open(directory.path / RUN_MODEL) as file:
        # One metadata key alone: the library writes several in a random order, and equal runs give equal files.
        file.write(save(state, {"format": "pt"}))
    channels, size = images.shape[1:3]
    directory.write_json(
        "labels.json",
        {
            "classes": list(classes),
            "backbone": backbone.name,
            "channels": channels,
            "size": size,
            "input_size": config.model.input_size,
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        },
    )
    return file_sha256(directory.path / RUN_MODEL)


def record_test(directory: RunDirectory, probabilities: Tensor, test: ImageTensors) -> dict[str, float]:
    """Accuracy and loss on the test images; keeps every probability and the most confident mistakes.

    Args:
        probabilities: (N, K), rows sum to 1.
    """
    labels = test.labels
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    directory.write_predictions(labels, probabilities, mistakes, test.images[mistakes])
    likelihood = probabilities.gather(1, labels[:, None]).clamp_min(1e-12)
    return {
        "test_acc": float((predicted == labels).double().mean()),
        "test_loss": float(-likelihood.log().mean()),
    }


def parameter_counts(net: Blocks, trained: Iterable[str]) -> dict[str, int]:
    """All parameters, and those of the blocks that were trained."""
    return {
        "total": sum(parameter.numel() for parameter in net.parameters()),
        "trained": sum(parameter.numel() for name in trained for parameter in net.block(name).parameters()),
    }


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
