"""Domain adaptation: what it has of its own in the order that `run_job` keeps."""

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tlcl.adaptation.evaluate import (
    Responses,
    a_distance,
    embedded,
    reading_order,
    responses,
    sample,
    write_embedding,
)
from tlcl.adaptation.frozen_start import serve_frozen
from tlcl.adaptation.learner import aligned_place, domain_names, load_domains, prepare
from tlcl.adaptation.module import AdaptationModule
from tlcl.adaptation.validator import keepers, load_chosen
from tlcl.config.schema import Config
from tlcl.data.look_words import untested_words
from tlcl.jobs.fit import train
from tlcl.jobs.job import Job, run_job
from tlcl.jobs.pretrain import start_weights
from tlcl.system.figures import counted
from tlcl.tracking.checkpoint import load_last
from tlcl.tracking.data_record import Parts
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.timings import Stopwatch

log = logging.getLogger(__name__)


class Adapt(Job):
    """The labels of a source domain, brought to a target domain with few or none."""

    name = "adapt"

    @classmethod
    def check(cls, configs: Sequence[Config]) -> None:
        domains = load_domains(configs[0])
        for config in configs:
            prepare(config, domains)

    def build(self) -> None:
        self.domains = load_domains(self.config)
        self.net, self.backbone, self.method, self.data, self.known = prepare(self.config, self.domains)
        self.source = self.domains.target
        for which, domain in zip(("source", "target"), self.domains, strict=True):
            if untested := untested_words(domain.test, which):
                log.info("%s", untested)
        self.orders = [reading_order(domain.test) for domain in self.domains]
        self.classes, self.place = len(self.source.pool.classes), aligned_place(self.config)

    @property
    def parts(self) -> Parts:
        source, target = self.domains
        return {
            "source's training": source.pool, "source's test": source.test,
            "target's training": target.pool, "target's test": target.test,
        }  # fmt: skip

    def load_weights(self) -> dict[str, Any]:
        return vars(start_weights(self.config, self.net, self.backbone))

    def _responses(self) -> list[Responses]:
        """To the test images of both domains."""
        precision = self.config.trainer.precision
        return [
            responses(self.net, domain.test.images, self.place, self.device, precision, order=order)
            for domain, order in zip(self.domains, self.orders, strict=True)
        ]

    def train(self) -> list[Any]:
        config = self.config
        log.info("testing on both domains before the adaptation")
        self.before = self._responses()
        self.given = None
        if not self.method.from_images:
            self.given = serve_frozen(config, self.net, self.data, self.device)
        module = AdaptationModule(
            self.net, self.method, self.classes, config.optim, config.seed, config.trainer.log_every, self.given,
            self.data.validated,
        )  # fmt: skip
        watch = Stopwatch()
        best = keepers(config, self.directory, watch)
        return train(config, self.directory, module, self.data, watch, best=best).loggers

    def choose(self) -> None:
        assert self.config.adaptation is not None
        self.last_epoch = None
        if self.config.adaptation.validator != "last":
            self.last_epoch = self._last_epoch()
        self.chosen = load_chosen(self.config, self.directory, self.net)
        self.method.finish(self.net.to(self.device), self.data.target_images)

    def _last_epoch(self) -> dict[str, Any]:
        """What the last epoch's weights answer, where another epoch's are chosen without labels."""
        load_last(self.directory, self.net)
        self.method.finish(self.net.to(self.device), self.data.target_images)
        ours, theirs = self._responses()
        labels = [domain.test.labels for domain in self.domains]
        known = self.source.test.labelled
        return {
            "epoch": self.config.trainer.epochs - 1,
            "test_acc": theirs.accuracy(labels[1]) if known else None,
            "source_test_acc": ours.accuracy(labels[0]),
        }

    def test(self) -> Tensor:
        self.after = self._responses()
        log.info("making a map of both domains")  # t-SNE
        tests = [domain.test for domain in self.domains]
        self.shown = [sample(test.images) for test in tests]
        maps = {name: embedded(both, self.shown) for name, both in (("before", self.before), ("after", self.after))}
        labels = [test.labels[chosen] for test, chosen in zip(tests, self.shown, strict=True)]
        write_embedding(self.directory, maps, labels)
        return self.after[1].probabilities

    def summary(self) -> dict[str, Any]:
        config, (source, target) = self.config, self.data.domains
        assert config.source is not None
        labels = [domain.test.labels for domain in self.domains]
        assert config.adaptation is not None
        names = domain_names(config.source, config.data)
        return {
            "method": self.method.settings(),
            "source_test_acc": self.after[0].accuracy(labels[0]),
            "a_distance": a_distance(self.after, self.shown),
            "before": {
                "test_acc": self.before[1].accuracy(labels[1]) if self.source.test.labelled else None,
                "source_test_acc": self.before[0].accuracy(labels[0]),
                "a_distance": a_distance(self.before, self.shown),
            },
            "selected": self.chosen,
            "last_epoch": self.last_epoch,
            "aligned": self.place,
            "inputs": f"outputs of {self.given}, computed once" if self.given else "images",
            "supervision": self.method.supervision,
            "source": names[0],
            "target": names[1],
            "source_train_size": len(source.split.train),
            "source_val_size": len(source.split.val),
            "source_test_size": len(labels[0]),
            "train_size": len(target.split.train),
            "labelled": len(self.known),
            "target_labelled": self.source.pool.labelled,
            "val_size": len(target.split.val),
            "skipped_images": sum(domain.skipped for domain in self.domains),
        }

    def sentence(self, summary: dict[str, Any]) -> str:
        size, accuracy = summary["test_size"], summary["test_acc"]
        target = f"{counted(size, 'target image')} classified in test_predictions.csv, without labels"
        if accuracy is not None:
            target = f"target test accuracy {accuracy:.4f} on {counted(size, 'image')}"
        return (
            f"{target}, source test accuracy "
            f"{summary['source_test_acc']:.4f} ({self.chosen['validator']}, epoch {self.chosen['epoch']})"
        )


check = Adapt.check


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """One whole adaptation, or the rest of one, see `run_job`."""
    return run_job(Adapt, config, directory)
