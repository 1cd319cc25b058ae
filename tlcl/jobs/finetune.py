"""Fine-tuning: what it has of its own in the order that `run_job` keeps."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH, ImageDataModule
from tlcl.data.sources.registry import load_source
from tlcl.explain.cka import copy_before_training, similarities_on
from tlcl.finetuning.module import FinetuningModule
from tlcl.jobs.fit import select_weights, train
from tlcl.jobs.job import Job, run_job
from tlcl.jobs.pretrain import start_weights
from tlcl.models.build import build_model
from tlcl.prefix_cache.callback import ServePrefix, versions_for
from tlcl.prefix_cache.probabilities import predict_probabilities, split_at_frozen
from tlcl.tracking.checkpoint import BestWeights
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.timings import Stopwatch


class Finetune(Job):
    """A pretrained network, its last blocks trained on new images."""

    name = "finetune"

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
        self.net, self.backbone = build_model(config.model, self.classes, config.seed)

    def load_weights(self) -> dict[str, Any]:
        return vars(start_weights(self.config, self.net, self.backbone))

    def train(self) -> list[Any]:
        config = self.config
        self.before = copy_before_training(self.net, self.trained)
        module = FinetuningModule(self.net, self.classes, config.optim, config.seed, config.trainer.log_every)
        watch, versions = Stopwatch(), versions_for(config)
        self.prefix = [] if versions is None else [ServePrefix(config, self.data, versions, watch)]
        best = BestWeights(self.directory.checkpoints, watch)
        trainer = train(config, self.directory, module, self.data, watch, prefix=self.prefix, best=[best])
        return trainer.loggers

    def choose(self) -> None:
        self.chosen = select_weights(self.config, self.directory, self.net)

    def test(self) -> Tensor:
        return predict_probabilities(
            split_at_frozen(self.net, self.config),
            self.source.test.images,
            self.config,
            self.device,
            batch_size=max(EVAL_BATCH, self.config.data.batch_size),
            progress=None,
        )

    def summary(self) -> dict[str, Any]:
        trainer = self.config.trainer
        return {
            "selected": self.chosen[trainer.select],
            "best": self.chosen["best"],
            "last": self.chosen["last"],
            "train_size": len(self.data.split.train),
            "val_size": len(self.data.split.val),
            "cka": similarities_on(
                self.source.test.images, self.before, self.net, self.device, trainer.precision
            ),
            "processes": trainer.processes,
            "prefix_cache": [record for callback in self.prefix for record in callback.records],
        }

    def sentence(self, summary: dict[str, Any]) -> str:
        chosen = summary["selected"]
        return (
            f"test accuracy {summary['test_acc']:.4f} on {summary['test_size']} images "
            f"({chosen['checkpoint']} epoch {chosen['epoch']})"
        )


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """One whole fine-tuning run, or the rest of one, see `run_job`."""
    return run_job(Finetune, config, directory)
