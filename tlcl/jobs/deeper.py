"""Whether a deeper model is better than the head alone: tested on the labelled images, by two halves of them.

Each half is trained on, and answered about by what was trained on the other, so that every labelled image is held
out once, and none is a test image (cross-fitting). A tenth of the images would be too few to tell the two apart.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from tlcl.config.schema import Config, LoggerConfig
from tlcl.data.datamodule import ImageDataModule, IndexedDataModule
from tlcl.data.splits import Split, stratified_order
from tlcl.finetuning.module import FinetuningModule
from tlcl.jobs.first_answer import FirstAnswer
from tlcl.jobs.fit import train
from tlcl.models.blocks import Blocks
from tlcl.models.inference import in_batches
from tlcl.prefix_cache.callback import ServePrefix, SharedViews, can_serve
from tlcl.statistics.accuracy import PairedAccuracy, compare_accuracies
from tlcl.tracking.checkpoint import BEST, SCORES, BestWeights, read_checkpoint
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.timings import Stopwatch

log = logging.getLogger(__name__)
KEPT, FOLDER = "deeper.json", "halves"
FEWEST = 12  # images; with fewer no difference between two models is more than chance
MOST = 5_000  # images that take part; a difference of one point shows among them


def halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two stratified halves of 0..N-1, or of as many as take part: int64, sorted."""
    order = stratified_order(labels, seed, "halves")[:MOST]
    # Beginning and end: where classes are equally large they take turns, and every second image has half of them.
    middle = len(order) // 2
    return order[:middle].sort().values, order[middle:].sort().values


def is_deeper_better(
    config: Config,
    directory: RunDirectory,
    net: Blocks,
    data: ImageDataModule,
    first: FirstAnswer,
    module_for: Callable[[], FinetuningModule],
    device: torch.device,
    views: SharedViews,
) -> dict[str, Any]:
    """The paired test; `net` has the start weights before, and is left with others. Kept in `deeper.json`.

    Args:
        module_for: makes the module that trains `net`.
        views: of the labelled images.
    """
    known = directory.read_json(KEPT)
    if known is not None:
        return known
    labels = data.labels[first.indices]
    if len(labels) < FEWEST:
        record: dict[str, Any] = {"images": len(labels), "kept": False}
        log.info("%d images are too few to tell whether a deeper model is better; the head stays", len(labels))
    else:
        record = _compared(config, directory, net, data, first, module_for, device, views)
    directory.write_json(KEPT, record)
    shutil.rmtree(directory.path / FOLDER, ignore_errors=True)
    return record


def _compared(
    config: Config,
    directory: RunDirectory,
    net: Blocks,
    data: ImageDataModule,
    first: FirstAnswer,
    module_for: Callable[[], FinetuningModule],
    device: torch.device,
    views: SharedViews,
) -> dict[str, Any]:
    labels = data.labels[first.indices]
    parts = halves(labels, config.seed)
    blocks = sorted(config.schedule.trainable(config.trainer.epochs - 1), key=net.names.index)
    log.info(
        "is a deeper model better? %s: trained on one half of %s images, tested on the other, and the reverse",
        ", ".join(blocks), f"{sum(map(len, parts)):,}",
    )  # fmt: skip
    start = {key: value.clone() for key, value in net.state_dict().items()}
    head_right, deeper_right, epochs = [], [], []
    for number, (ours, others) in enumerate((parts, parts[::-1])):
        net.load_state_dict(start)
        head = first.fit(ours, data.labels, len(data.classes))
        head.put_into(net.classifier)
        head_right.append(head.logits(first.features[others, 0]).argmax(1) == labels[others])
        split = Split(train=first.indices[ours], val=first.indices[others])
        epoch, logits = _trained_on(config, directory, number, net, data, split, module_for(), device, views)
        epochs.append(epoch)
        directory.keep_seconds()
        deeper_right.append(logits.argmax(1) == labels[others])
    pair = compare_accuracies(torch.cat(head_right).numpy(), torch.cat(deeper_right).numpy())
    record = {
        "images": pair.images,
        "head_acc": float(torch.cat(head_right).double().mean()),
        "deeper_acc": float(torch.cat(deeper_right).double().mean()),
        "best_epochs": epochs,
        "paired": asdict(pair),
        "kept": pair.second_is_better,
    }
    log.info("%s", evidence_words(record))
    return record


def _trained_on(
    config: Config,
    directory: RunDirectory,
    number: int,
    net: Blocks,
    data: ImageDataModule,
    split: Split,
    module: FinetuningModule,
    device: torch.device,
    views: SharedViews,
) -> tuple[int, Tensor]:
    """The best epoch of a training on one half, and its logits (n, K) of the other half's images."""
    quiet = replace(config, logger=LoggerConfig("none"))
    half = IndexedDataModule(data.inputs, data.labels, split, config.data, config.seed)
    watch = Stopwatch()
    prefix = [ServePrefix(quiet, half, watch, views)] if can_serve(quiet) else []
    path = directory.path / FOLDER / str(number)
    there = RunDirectory(path, resume=(path / "config.yaml").is_file())
    try:
        there.begin(quiet)
        best = BestWeights(there.checkpoints, watch, SCORES[config.trainer.monitor])
        train(quiet, there, module, half, watch, prefix=prefix, best=[best])
        chosen = read_checkpoint(there.checkpoints / BEST)
    finally:
        there.close()
    net.load_state_dict(chosen["net"])
    net.to(device).eval()
    served, place = half.served_for_validation, module.val_start
    logits = in_batches(
        lambda rows: net(served.take(rows.cpu()).to(device), start=place),
        split.val,
        batch_size=256,
        device=device,
        precision=config.trainer.precision,
    )
    return int(chosen["epoch"]), logits


def evidence_words(record: dict[str, Any]) -> str:
    """What came of it, in a sentence."""
    if "paired" not in record:
        return f"{record['images']} images are too few to compare the head with a deeper model"
    pair = PairedAccuracy(**record["paired"])
    sign = "+" if pair.difference >= 0 else "−"
    figures = (
        f"on {pair.images:,} held-out images the deeper model is right on {100 * record['deeper_acc']:.1f} %, "
        f"the head alone on {100 * record['head_acc']:.1f} % ({sign}{100 * abs(pair.difference):.1f} points, "
        f"95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}, p = {pair.p:.2g})"
    )
    if pair.second_is_better:
        return f"{figures}: it is trained on all images and kept"
    if pair.first_is_better:
        return f"{figures}: the head alone is better and stays"
    return f"{figures}: no more than chance, so the head alone stays"
