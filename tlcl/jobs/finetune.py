"""Fine-tuning: what it has of its own in the order that `run_job` keeps."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, ImageDataModule
from tlcl.data.look import look
from tlcl.data.sources.registry import load_source
from tlcl.distributed.collectives import leads
from tlcl.explain.cka import copy_before_training, similarities_on
from tlcl.finetuning.class_weights import balanced_weights, evens_out
from tlcl.finetuning.fitted_head import FittedHead
from tlcl.finetuning.module import FinetuningModule
from tlcl.finetuning.wise_ft import interpolate
from tlcl.jobs.answer import class_lines, next_lines
from tlcl.jobs.calibrate import HeldOut, calibrate, calibration_record
from tlcl.jobs.deeper import CrossFit, evidence_words
from tlcl.jobs.findings import find_label_issues, find_near_duplicates, finding_lines
from tlcl.jobs.first_answer import FirstAnswer, first_answer
from tlcl.jobs.fit import loggers_for, select_weights, train
from tlcl.jobs.job import Job, run_job
from tlcl.jobs.outcome import parameter_counts
from tlcl.jobs.pretrain import start_weights
from tlcl.models.blocks import FEATURES
from tlcl.models.build import build_model
from tlcl.models.lora import add_lora, lora_layers, merge_lora, require_peft
from tlcl.prefix_cache.activations import Keeping
from tlcl.prefix_cache.callback import ServePrefix, SharedViews, can_serve
from tlcl.prefix_cache.probabilities import predict_probabilities, probabilities_from, split_at_frozen
from tlcl.reports.verdict import accuracy_words, model_words
from tlcl.tracking.calibration import write_calibration
from tlcl.tracking.checkpoint import BEST, BestWeights
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.selection import RULES, SCORES
from tlcl.tracking.timings import Stopwatch
from tlcl.tracking.wandb import check_key

log = logging.getLogger(__name__)


class Finetune(Job):
    """A pretrained network, its last blocks trained on new images; with optim.head=fitted, as far as that helps."""

    name = "finetune"
    first: FirstAnswer | None = None
    views: SharedViews | None = None
    deeper: dict[str, Any] | None = None  # what came of the comparison of the head with a deeper model

    @classmethod
    def check(cls, configs: Sequence[Config]) -> None:
        source = load_source(configs[0].data, configs[0].cache_dir)
        for config in configs:
            ImageDataModule(source, config.data, config.seed)

    def build(self) -> None:
        config = self.config
        self.source = load_source(config.data, config.cache_dir)
        self.data = ImageDataModule(self.source, config.data, config.seed)
        self.classes = len(self.data.classes)
        self.look = look(self.source, self.data.split)
        if leads():
            for line in self.look.sentences():
                log.info("%s", line)
        self.net, self.backbone = build_model(config.model, self.classes, config.seed)
        if config.model.lora:
            lora_layers(self.net)
            require_peft()

    def load_weights(self) -> dict[str, Any]:
        return vars(start_weights(self.config, self.net, self.backbone))

    @property
    def doubled(self) -> tuple[str, ...]:
        trainer = self.config.trainer
        same = trainer.select == "best" and trainer.wise_ft == 1 and not self.config.model.lora
        return (BEST,) if same else ()

    @property
    def duplicates(self) -> int:
        return self.look.train_test.images  # they have been hashed

    @property
    def trained(self) -> frozenset[str]:
        if self.head_stays:
            return frozenset({"head"})
        if self.config.schedule.patience is None:
            return super().trained
        lines = read_lines(self.directory.path / "metrics.jsonl")
        return frozenset(block for line in lines for block in line["trainable"])

    @property
    def head_stays(self) -> bool:
        """Whether the fitted head on the frozen network is the answer."""
        if self.first is None:
            return False
        if self.config.optim.head == "lp_ft":
            return super().trained == {"head"}
        return not (self.deeper or {}).get("kept", False)

    @property
    def between(self) -> bool:
        """Whether the weights are between those before and after the training."""
        return self.config.trainer.wise_ft < 1 and not self.head_stays

    def _module(self) -> FinetuningModule:
        config = self.config
        labels = self.data.labels[self.data.split.train]
        return FinetuningModule(
            self.net, self.classes, config.optim, config.seed, config.trainer.log_every, config.data.mixup,
            balanced_weights(labels, self.classes) if evens_out(config) else None,
        )  # fmt: skip

    def train(self) -> list[Any]:
        config = self.config
        self.prefix: list[ServePrefix] = []
        self.keeping = Keeping.of(config)
        self.before = copy_before_training(self.net, super().trained)
        if config.model.lora:
            add_lora(self.net, config.model.lora, config.model.lora_alpha, config.seed)
        if config.optim.head != "new":
            self._answer_first()
            if self.head_stays:
                return loggers_for(config, self.directory)
        watch = Stopwatch()
        self.prefix = [ServePrefix(config, self.data, watch, self.keeping, self.views)] if can_serve(config) else []
        best = BestWeights(self.directory.checkpoints, watch, SCORES[config.trainer.monitor])
        trainer = train(config, self.directory, self._module(), self.data, watch, prefix=self.prefix, best=[best])
        return trainer.loggers

    def _answer_first(self) -> None:
        """The head on the frozen network; where more may train, whether that helps, and the start of it."""
        config, net = self.config, self.net
        check_key(config)  # W&B begins when there is something to log
        start = {key: value.clone() for key, value in net.state_dict().items()}
        self.first = first = first_answer(net, self.data, self.source.test, config, self.device, self.keeping)
        self.directory.write_json("first_answer.json", first.record)
        if super().trained == {"head"}:
            return
        net.load_state_dict(start)
        self.views = SharedViews(config, self.data, first.indices, self.device, self.keeping)
        if config.optim.head == "fitted":
            self.deeper = CrossFit(
                config, self.directory, net, self.data, first, self._module, self.views
            ).decide()
        else:
            self.views.fill(net)
        net.load_state_dict(start)
        head = first.head if self.head_stays else self._head_of_training(first)
        head.put_into(net.classifier)
        if config.trainer.wise_ft < 1:
            self.began = copy.deepcopy(net)
            merge_lora(self.began)

    def _head_of_training(self, first: FirstAnswer) -> FittedHead:
        """Fitted without the validation images, which then choose the epoch."""
        return first.fit(torch.isin(first.indices, self.data.split.train), self.data.labels, self.classes)

    def choose(self) -> None:
        if self.head_stays:
            assert self.first is not None
            figures = {"val_acc": self.first.record["cv_acc"], "val_loss": self.first.record["cv_loss"]}
            self.chosen = {name: {"checkpoint": "head", "epoch": None, **figures} for name in ("best", "last")}
        else:
            self.chosen = select_weights(self.config, self.directory, self.net)
        # Of LoRA's matrices, which are gone once they are merged.
        self.learned = parameter_counts(self.net, self.trained, self.config.schedule.only)["trained"]
        self.learning_blocks = super().learning()
        merge_lora(self.net)
        if self.between:
            weights = interpolate(self.began.state_dict(), self.net.state_dict(), self.config.trainer.wise_ft)
            self.net.load_state_dict(weights)

    def parameters(self) -> dict[str, int]:
        return {**super().parameters(), "trained": self.learned}

    def learning(self) -> list[str]:
        return self.learning_blocks

    def test(self) -> Tensor:
        self.probabilities = self._probabilities()
        held_out = self._held_out()
        self.calibration = calibrate(held_out)
        if self.between:
            self.validated = _figures(held_out)
        write_calibration(self.directory, self.calibration)
        return self.probabilities

    def _probabilities(self) -> Tensor:
        if self.first is not None:
            place = split_at_frozen(self.net, self.config).place
            held = self.first.test.get(FEATURES if self.head_stays else place or "")
            if held is not None:
                return probabilities_from(self.net, held, self.config, self.device)
        return self._answers(self.source.test.images)

    def _held_out(self) -> HeldOut:
        """What is said of labelled images by what has not learned from them, or, of a head, by its like."""
        labels = self.data.labels
        if self.head_stays:
            assert self.first is not None
            chosen = self.first.chosen
            which = labels[self.first.indices[chosen.which]][: len(chosen.held_out)]
            return HeldOut(chosen.held_out.softmax(1), which, "labelled images, each held out once")
        val = self.data.split.val
        return HeldOut(self._validation_answers(val), labels[val], "validation images")

    def _validation_answers(self, val: Tensor) -> Tensor:
        """From the outputs of frozen blocks that the training had, unless these were rounded or not kept."""
        place, known = split_at_frozen(self.net, self.config).place, self.prefix[0].val if self.prefix else None
        held = (known or {}).get(place or "")
        if held is not None and self.config.data.cache_dtype == "float32":
            return probabilities_from(self.net, held, self.config, self.device)
        return self._answers(self.data.inputs[val]) if len(val) else torch.empty(0, self.classes)

    def _answers(self, images: Tensor) -> Tensor:
        """Class probabilities float32 (n, K) of images uint8 (n, C, H, W)."""
        return predict_probabilities(
            split_at_frozen(self.net, self.config),
            images,
            self.config,
            self.device,
            batch_size=max(EVAL_BATCH, self.config.data.batch_size),
            progress=None,
        )

    def summary(self) -> dict[str, Any]:
        trainer = self.config.trainer
        summary: dict[str, Any] = {
            "selected": self.chosen[trainer.select],
            "best": self.chosen["best"],
            "last": self.chosen["last"],
            "selected_by": self._rule(),
            "train_size": len(self.data.split.train),
            "val_size": len(self.data.split.val),
            "cka": similarities_on(
                self.source.test.images, self.before, self.net, self.device, trainer.precision
            ),
            "processes": trainer.processes,
            "prefix_cache": [record for callback in self.prefix for record in callback.records],
            "look": self.look.record(),
            "calibration": calibration_record(
                self.calibration, self.probabilities.numpy(), self.source.test.labels.numpy()
            ),
        }
        summary |= find_near_duplicates(self.directory.path, self.source, self.data.split)
        if self.first is not None:
            summary |= find_label_issues(self.directory.path, self.source, self.first)
            summary["first_answer"] = self.first.record
            summary["answer"] = "head" if self.head_stays else "deeper"
            if self.head_stays:
                summary["train_size"], summary["val_size"] = self.first.record["fitted_on"], 0
        if self.between:
            summary["wise_ft"] = {"share": trainer.wise_ft, **self.validated}
            summary["selected"] = {**summary["selected"], **self.validated}
        if self.deeper is not None:
            summary["deeper"] = {**self.deeper, "words": evidence_words(self.deeper)}
        return summary

    def _rule(self) -> str:
        if self.head_stays:
            return "the head alone, its penalty the strongest within a standard error of the folds' lowest loss"
        if self.config.trainer.select == "last":
            return "the last epoch"
        return RULES[self.config.trainer.monitor]

    def sentence(self, summary: dict[str, Any]) -> str:
        size = summary["test_size"]
        words = accuracy_words(round(summary["test_acc"] * size), size)
        found = finding_lines(summary, self.directory.path)
        if self.first is None:
            chosen = summary["selected"]
            answer = (
                f"test accuracy {summary['test_acc']:.4f}: {words} "
                f"({chosen['checkpoint']} epoch {chosen['epoch']})"
            )
            return "\n".join([answer, *found])
        model = model_words(self.config.model.title, summary)
        classes = class_lines(self.source.test.labels.numpy(), self.probabilities.numpy(), self.data.classes)
        return "\n".join([f"answer: {model}: {words}", *classes, *found, *next_lines(summary, self.directory.path)])


def _figures(held_out: HeldOut) -> dict[str, float]:
    """Accuracy and mean loss on the held-out images."""
    likelihood = held_out.probabilities.gather(1, held_out.labels[:, None]).clamp_min(1e-12)
    return {
        "val_acc": float((held_out.probabilities.argmax(1) == held_out.labels).double().mean()),
        "val_loss": float(-likelihood.log().mean()),
    }


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """One whole fine-tuning run, or the rest of one, see `run_job`."""
    return run_job(Finetune, config, directory)
