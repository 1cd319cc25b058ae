"""Whether a deeper model is better than the head alone: tested on the labelled images, by two halves of them.

Each half is trained on, and answered about by what was trained on the other, so that every labelled image is held
out once, and none is a test image (cross-fitting). A tenth of the images would be too few to tell the two apart.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_stat_scores

from tlcl.config.schema import Config, LoggerConfig
from tlcl.data.datamodule import ImageDataModule, IndexedDataModule
from tlcl.data.splits import Split, stratified_order
from tlcl.errors import Stopped, TrainingError
from tlcl.finetuning.class_weights import cross_entropy
from tlcl.finetuning.module import FinetuningModule
from tlcl.jobs.first_answer import FirstAnswer
from tlcl.jobs.fit import train
from tlcl.models.blocks import Blocks
from tlcl.prefix_cache.callback import ServePrefix, SharedViews, can_serve
from tlcl.statistics.accuracy import PairedAccuracy, compare_accuracies
from tlcl.statistics.class_figures import balanced_accuracy, macro_f1
from tlcl.statistics.luck import images_despite_luck, with_luck
from tlcl.statistics.power import TIMES
from tlcl.system.figures import counted
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.selection import SCORES
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


@dataclass(frozen=True)
class CrossFit:
    """The paired test of the head with a deeper model.

    Attributes:
        net: with its start weights; it is left with others.
        module_for: makes the module that trains `net`.
        views: of the labelled images, of the start weights.
    """

    config: Config
    directory: RunDirectory
    net: Blocks
    data: ImageDataModule
    first: FirstAnswer
    module_for: Callable[[], FinetuningModule]
    views: SharedViews

    def decide(self) -> dict[str, Any]:
        """What came of it; kept in `deeper.json`, from which a resumed run takes it."""
        known = self.directory.read_json(KEPT)
        if known is None or known["kept"]:
            self.views.fill(self.net)  # now, as the net has its start weights
        if known is not None:
            return known
        record = self._attempted()
        log.info("%s", evidence_words(record))
        self.directory.write_json(KEPT, record)
        shutil.rmtree(self.directory.path / FOLDER, ignore_errors=True)
        return record

    def _attempted(self) -> dict[str, Any]:
        images = len(self.first.indices)
        if images < FEWEST:
            return {"images": images, "kept": False}
        try:
            return self._compared()
        except Stopped:
            raise
        except TrainingError as error:  # a loss that is not finite: the first answer is none the worse
            return {"images": images, "kept": False, "stopped": str(error)}

    def _compared(self) -> dict[str, Any]:
        config, net, first = self.config, self.net, self.first
        labels = self.data.labels[first.indices]
        parts = halves(labels, config.seed)
        blocks = sorted(config.schedule.trainable(config.trainer.epochs - 1), key=net.names.index)
        log.info(
            "is a deeper model better? %s: trained on one half of %s images, tested on the other, and the reverse",
            ", ".join(blocks), f"{sum(map(len, parts)):,}",
        )  # fmt: skip
        start = {key: value.clone() for key, value in net.state_dict().items()}
        head_right, answers = [], []
        for number, (ours, others) in enumerate((parts, parts[::-1])):
            net.load_state_dict(start)
            head = first.fit(ours, self.data.labels, len(self.data.classes))
            head.put_into(net.classifier)
            head_right.append(head.logits(first.features[others, 0]).argmax(1) == labels[others])
            answers.append(self._trained(number, Split(train=first.indices[ours], val=first.indices[others])))
            self.directory.keep_seconds()
        epochs = [chosen_epoch(config, theirs, len(mine.right)) for mine, theirs in (answers, answers[::-1])]
        deeper_right = [mine.right[epoch] for mine, epoch in zip(answers, epochs, strict=True)]
        exact = compare_accuracies(torch.cat(head_right).numpy(), torch.cat(deeper_right).numpy())
        pair = with_luck(exact, trainings=len(parts))
        return {
            "images": pair.images,
            "head_acc": float(torch.cat(head_right).double().mean()),
            "deeper_acc": float(torch.cat(deeper_right).double().mean()),
            "epochs": epochs,
            "paired": asdict(pair),
            "kept": pair.second_is_better,
        }

    def _trained(self, number: int, split: Split) -> "HeldOutAnswers":
        """A training on one half, and what each of its epochs answers about the other half's images."""
        config, data = replace(self.config, logger=LoggerConfig("none")), self.data
        half = IndexedDataModule(data.inputs, data.labels, split, config.data, config.seed)
        watch = Stopwatch()
        prefix = [ServePrefix(config, half, watch, self.views.keeping, self.views)] if can_serve(config) else []
        answers = HeldOutAnswers(self.directory, data.labels[split.val])
        path = self.directory.path / FOLDER / str(number)
        there = RunDirectory(path, resume=(path / "config.yaml").is_file())
        try:
            there.begin(config)
            train(config, there, self.module_for(), half, watch, prefix=prefix, best=[answers])
        finally:
            there.close()
        return answers


class HeldOutAnswers(L.Callback):
    """After each epoch, which of the validation images are right; kept in the checkpoints.

    Args:
        directory: of the whole run, whose clock goes on.

    Attributes:
        right: of each epoch, bool (n,), in the order of the validation images.
        losses: of each epoch, the mean, by `optim.class_weights`.
        by_class: of each epoch, the figures in which every class counts the same.
    """

    def __init__(self, directory: RunDirectory, labels: Tensor) -> None:
        self.directory, self.labels = directory, labels
        self.right: list[Tensor] = []
        self.losses: list[float] = []
        self.by_class: list[dict[str, float]] = []
        self._logits: list[Tensor] = []

    def metrics(self) -> list[dict[str, float]]:
        """Of each epoch, under the names that are logged."""
        figures = zip(self.right, self.losses, self.by_class, strict=True)
        return [
            {"val/acc": float(right.double().mean()), "val/loss": loss, **by_class}
            for right, loss, by_class in figures
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"right": list(self.right), "losses": list(self.losses), "by_class": list(self.by_class)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.right, self.losses = list(state_dict["right"]), list(state_dict["losses"])
        # Runs from before there were these figures do not choose by them.
        self.by_class = list(state_dict.get("by_class", [{} for _ in self.right]))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._logits = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._logits.append(outputs.detach().float().cpu())

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logits = torch.cat(self._logits)
        self.right.append(logits.argmax(1) == self.labels)
        weights = cast(FinetuningModule, pl_module).class_weights
        self.losses.append(float(cross_entropy(logits, self.labels, None if weights is None else weights.cpu())))
        scores = multiclass_stat_scores(logits.argmax(1), self.labels, logits.shape[1], average=None)
        figures = {"val/balanced_acc": balanced_accuracy(scores), "val/macro_f1": macro_f1(scores)}
        self.by_class.append({name: float(figure) for name, figure in figures.items()})
        self.directory.keep_seconds()


def chosen_epoch(config: Config, theirs: HeldOutAnswers, epochs: int) -> int:
    """The epoch whose answers count, of so many: by the curve of the other half's training.

    By its own curve, the best of several epochs would be chosen on the images that are then compared.
    """
    if config.trainer.select == "last":
        return epochs - 1
    scores = [SCORES[config.trainer.monitor](figures) for figures in theirs.metrics()]
    return min(scores.index(max(scores)), epochs - 1)


def evidence_words(record: dict[str, Any]) -> str:
    """What came of it, in a sentence."""
    if "stopped" in record:
        return f"no deeper model could be trained ({record['stopped']}); the head alone stays"
    if "paired" not in record:
        return f"{counted(record['images'], 'image')} cannot tell the head from a deeper model; it takes more"
    pair = PairedAccuracy(**record["paired"])
    figures = (
        f"on {pair.images:,} held-out images the deeper model is right on {100 * record['deeper_acc']:.1f} %, "
        f"the head alone on {100 * record['head_acc']:.1f} % ({100 * pair.difference:+.1f} points, "
        f"95 % interval {100 * pair.low:+.1f} to {100 * pair.high:+.1f}, p = {pair.p:.2g})"
    )
    if pair.second_is_better:
        return f"{figures}: it is trained and kept"
    if pair.first_is_better:
        return f"{figures}: the head alone is better and stays"
    return f"{figures}: no more than chance, so the head alone stays{_more_words(pair)}"


def _more_words(pair: PairedAccuracy) -> str:
    """How many labels would tell a gain as large as was seen; empty where none would, or not all took part."""
    if pair.difference <= 0 or pair.images >= MOST:
        return ""
    differ = (pair.first_only + pair.second_only) / pair.images
    needed = images_despite_luck(pair.difference, differ, trainings=2)
    if needed is None or not pair.images < needed <= min(MOST, TIMES * pair.images):
        return ""
    return f"; if its gain is what it looks like, about {counted(needed - pair.images, 'more label')} would tell"
