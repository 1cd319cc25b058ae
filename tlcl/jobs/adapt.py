"""One domain adaptation from config to report: the order of the steps, and nothing else."""

import logging
import time
from typing import Any

import torch
from omegaconf import DictConfig

from tlcl.adaptation.evaluate import a_distance, embedded, responses, write_embedding
from tlcl.adaptation.learner import aligned_place, load_domains, prepare
from tlcl.adaptation.module import AdaptationModule
from tlcl.adaptation.validator import keepers, load_chosen
from tlcl.config.parse import parse_config
from tlcl.finetuning.trainer import settle
from tlcl.jobs.finetune import start_weights
from tlcl.jobs.fit import train
from tlcl.jobs.outcome import duplicates, export, parameter_counts, record_test
from tlcl.reports.render import render
from tlcl.tracking.checkpoint import PREVIOUS
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import Stopwatch, seconds_by_part
from tlcl.tracking.wandb import finish_wandb

log = logging.getLogger(__name__)


def run(composed: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """One whole adaptation (or the rest of one) in `directory`; returns its summary.

    Raises:
        UserError, TrainingError: see `tlcl.errors`.
    """
    started = time.perf_counter()
    config = parse_config(composed)
    assert config.source is not None
    assert config.adaptation is not None
    device = settle(config, composed)
    domains = load_domains(config)
    net, backbone, method, data, known = prepare(config, domains)
    origin = start_weights(config, net, backbone)
    directory.begin(composed)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    classes, place = domains.target.pool.classes, aligned_place(config)
    tests = [domain.test for domain in domains]
    before = [responses(net, test.images, place, device, config.trainer.precision) for test in tests]

    module = AdaptationModule(net, method, len(classes), config.optim, config.seed, config.trainer.log_every)
    watch = Stopwatch()
    trainer = train(config, directory, module, data, watch, best=keepers(config, directory, watch))
    chosen = load_chosen(config, directory, net)
    method.finish(net.to(device), data.target_images)

    after = [responses(net, test.images, place, device, config.trainer.precision) for test in tests]
    stages = {"before": before, "after": after}
    maps = {stage: embedded(*domain) for stage, domain in stages.items()}
    write_embedding(directory, maps, tests[0].labels, tests[1].labels)
    scores = record_test(directory, after[1].probabilities, tests[1])
    trained = config.schedule.trainable(config.trainer.epochs - 1)
    summary: dict[str, Any] = {
        "status": "complete",
        "name": config.name,
        "job": "adapt",
        "method": vars(config.adaptation),
        **scores,
        "source_test_acc": after[0].accuracy(tests[0].labels),
        "a_distance": a_distance(*after),
        "before": {
            "test_acc": before[1].accuracy(tests[1].labels),
            "source_test_acc": before[0].accuracy(tests[0].labels),
            "a_distance": a_distance(*before),
        },
        "selected": chosen,
        "aligned": place,
        "supervision": method.supervision,
        "source": config.source.source,
        "target": config.data.source,
        "epochs": config.trainer.epochs,
        "source_train_size": len(data.domains[0].split.train),
        "source_val_size": len(data.domains[0].split.val),
        "source_test_size": len(tests[0]),
        "train_size": len(data.domains[1].split.train),
        "labelled": len(known),
        "val_size": len(data.domains[1].split.val),
        "test_size": len(tests[1]),
        "classes": len(classes),
        "skipped_images": sum(domain.skipped for domain in domains),
        "duplicates_train_test": duplicates(domains.target),
        "weights": vars(origin),
        "model_sha256": export(directory, config, net, backbone, classes, domains.target.pool.images),
        "parameters": parameter_counts(net, trained),
        "trained_blocks": [name for name in net.names if name in trained],
        "precision": config.trainer.precision,
        "seconds_by_part": seconds_by_part(read_lines(directory.path / "timings.jsonl")),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (directory.checkpoints / PREVIOUS).unlink(missing_ok=True)
    directory.write_json("summary.json", summary)  # last, as it says that the run is complete
    report = render(directory.path)
    for logger in trainer.loggers:
        finish_wandb(logger, directory, summary)
    log.info(
        "target test accuracy %.4f on %d images, source %.4f (%s, epoch %d)",
        scores["test_acc"], len(tests[1]), summary["source_test_acc"], chosen["validator"], chosen["epoch"],
    )  # fmt: skip
    log.info("report: %s", report)
    return summary
