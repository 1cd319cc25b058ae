"""One fine-tuning run from config to report: the order of the steps, and nothing else."""

import logging
import sys
import time
import warnings
from typing import Any, cast

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save

from tlcl.atomic import atomic_open
from tlcl.config import Config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import Source
from tlcl.data.sources import load_source
from tlcl.errors import TrainingError
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.thaw import Thaw
from tlcl.inference import predict
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.weights import RUN_MODEL, Origin, apply_weights, file_sha256
from tlcl.parse import parse_config
from tlcl.pretraining import pretrained_on_letters
from tlcl.tracking.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    EpochCheckpoint,
    latest_checkpoint,
    read_checkpoint,
)
from tlcl.tracking.plots import save_plots
from tlcl.tracking.records import EpochRecords, RunDirectory, environment, read_lines
from tlcl.tracking.report import write_report
from tlcl.tracking.wandb import build_wandb, finish_wandb

log = logging.getLogger(__name__)
MISTAKES = 25


def duplicates(source: Source) -> int:
    """How many test images are also, pixel for pixel, among the training and validation images."""
    pool = {image.numpy().tobytes() for image in source.pool.images}
    return sum(image.numpy().tobytes() in pool for image in source.test.images)


def build_trainer(config: Config, directory: RunDirectory, loggers: list[Any]) -> L.Trainer:
    """The Lightning Trainer of a fine-tuning run."""
    options = config.trainer
    terminal = options.progress and sys.stdout.isatty()
    return L.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        # Frozen blocks have no gradients, and which are frozen changes on the way.
        strategy="ddp_find_unused_parameters_true" if options.devices > 1 else "auto",
        precision=cast(Any, options.precision),
        max_epochs=options.epochs,
        logger=loggers or False,
        callbacks=[Thaw(config.schedule), EpochRecords(directory), EpochCheckpoint(directory.checkpoints)],
        plugins=[AtomicCheckpointIO()],
        log_every_n_steps=options.log_every,
        num_sanity_val_steps=0,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(directory.path),
    )


def fit(config: Config, directory: RunDirectory, module: FinetuningModule, data: ImageDataModule) -> L.Trainer:
    """Train from the last whole checkpoint, or from the start when there is none."""
    loggers: list[Any] = []
    if config.logger.name == "wandb":
        loggers.append(
            build_wandb(
                config,
                directory,
                OmegaConf.to_container(  # type: ignore[arg-type]
                    OmegaConf.load(directory.path / "config.yaml")
                ),
            )
        )
    trainer = build_trainer(config, directory, loggers)
    checkpoint = latest_checkpoint(directory.checkpoints)
    if checkpoint is not None:
        done = int(read_checkpoint(checkpoint)["epoch"]) + 1
        log.info("resuming after epoch %d of %s", done - 1, directory.path)
        directory.truncate_lines("metrics.jsonl", done)
        directory.truncate_lines("timings.jsonl", done)
    else:
        for name in ("metrics.jsonl", "timings.jsonl"):
            (directory.path / name).unlink(missing_ok=True)
    with warnings.catch_warnings():
        # Frozen blocks are in eval on purpose, and batches are gathered from memory: no loader workers.
        warnings.filterwarnings("ignore", message=".*eval mode.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of a deprecated call
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=str(checkpoint) if checkpoint else None,
                weights_only=True,
            )
        except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into an exit of its own
            raise TrainingError(f"interrupted; go on with +resume={directory.path}") from None
    return trainer


def select_weights(config: Config, directory: RunDirectory, net: Blocks) -> dict[str, Any]:
    """Load the weights that `trainer.select` names into `net`; return epoch and validation figures of both."""
    lines = {line["epoch"]: line for line in read_lines(directory.path / "metrics.jsonl")}
    best = read_checkpoint(directory.checkpoints / BEST)
    epochs = {"best": int(best["epoch"]), "last": max(lines)}
    if config.trainer.select == "best":
        net.load_state_dict(best["net"])
    else:
        state = read_checkpoint(directory.checkpoints / LAST)["state_dict"]
        net.load_state_dict(
            {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
        )
    return {
        name: {
            "checkpoint": name,
            "epoch": epoch,
            "val_acc": lines[epoch]["val/acc"],
            "val_loss": lines[epoch]["val/loss"],
        }
        for name, epoch in epochs.items()
    }


def export(directory: RunDirectory, config: Config, net: Blocks, backbone: Backbone, data: ImageDataModule) -> str:
    """Write `model.safetensors` (the library's own key names) and `labels.json`; return the SHA-256."""
    state = {key: value.detach().cpu().contiguous() for key, value in backbone.native_state(net).items()}
    with atomic_open(directory.path / RUN_MODEL) as file:
        # One metadata key alone: the library writes several in a random order, and equal runs give equal files.
        file.write(save(state, {"format": "pt"}))
    channels, size = data.source.pool.images.shape[1:3]
    directory.write_json(
        "labels.json",
        {
            "classes": list(data.classes),
            "backbone": backbone.name,
            "channels": channels,
            "size": size,
            "input_size": config.model.input_size,
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        },
    )
    return file_sha256(directory.path / RUN_MODEL)


def test(
    config: Config, directory: RunDirectory, net: Blocks, source: Source, device: torch.device
) -> dict[str, float]:
    """Accuracy and loss on the test images; keeps every probability and the most confident mistakes."""
    probabilities = predict(
        net,
        source.test.images,
        batch_size=max(256, config.data.batch_size),
        device=device,
        precision=config.trainer.precision,
    )
    labels = source.test.labels
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    directory.write_predictions(labels, probabilities, mistakes, source.test.images[mistakes])
    likelihood = probabilities.gather(1, labels[:, None]).clamp_min(1e-12)
    return {
        "test_acc": float((predicted == labels).double().mean()),
        "test_loss": float(-likelihood.log().mean()),
    }


def run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One whole fine-tuning run (or the rest of one) in `directory`; returns its summary.

    Raises:
        UserError, TrainingError: see `tlcl.errors`.
    """
    started = time.perf_counter()
    config = parse_config(composed)
    source = load_source(config.data, config.cache_dir)
    data = ImageDataModule(source, config.data, config.seed)
    net, backbone = build_model(config.model, len(data.classes), config.seed)
    # From here on the run exists: a mistake in the config or the data leaves no directory's contents behind.
    if not (directory.path / "config.yaml").exists():
        directory.write_config(composed)
        directory.write_json("environment.json", environment(config.seed))
    weights = config.model.weights
    if weights == "letters":
        origin = apply_weights(net, backbone, str(pretrained_on_letters(config, run)))
        origin = Origin("letters", origin.path, origin.sha256)
    else:
        origin = apply_weights(net, backbone, weights)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)

    module = FinetuningModule(net, len(data.classes), config.optim, config.seed, config.trainer.log_every)
    trainer = fit(config, directory, module, data)
    if not trainer.is_global_zero:
        return {}

    chosen = select_weights(config, directory, net)
    scores = test(config, directory, net, source, trainer.strategy.root_device)
    schedule = config.schedule
    trained = schedule.trainable(config.trainer.epochs - 1)
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
        "model_sha256": export(directory, config, net, backbone, data),
        "parameters": {
            "total": sum(parameter.numel() for parameter in net.parameters()),
            "trained": sum(parameter.numel() for name in trained for parameter in net.block(name).parameters()),
        },
        "trained_blocks": [name for name in net.names if name in trained],
        "seconds": round(time.perf_counter() - started, 1),
    }
    directory.write_json("summary.json", summary)
    (directory.checkpoints / PREVIOUS).unlink(missing_ok=True)
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
