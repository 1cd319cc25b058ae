"""How deep to retrain: settings in a race against the head alone, one recommendation, and a page that shows why."""

import logging
from typing import Any

import torch

from tlcl.config.schema import Config
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageSubset
from tlcl.data.look import look
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.first_answer import first_answer, labelled_images
from tlcl.jobs.learning_curve import learning_curve
from tlcl.jobs.pretrain import ready_weights, start_weights
from tlcl.jobs.race import Race, taking_part
from tlcl.jobs.race_record import race_record
from tlcl.jobs.shared_start import SharedStart
from tlcl.models.build import build_model
from tlcl.prefix_cache.activations import Keeping
from tlcl.reports.asked import asked_by
from tlcl.reports.how_deep import commands_of, table_lines, verdict
from tlcl.reports.render import render
from tlcl.system.figures import counted
from tlcl.tracking.data_record import DATA, data_record, data_set, refuse_changed, share_record
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)
FEWEST = 12  # images; of fewer six folds hold out one each


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Race the settings, or what is left of the race, and say what to do; returns the summary.

    Raises:
        UserError: too few images, a setting that is none.
    """
    device = choose_device(config)
    log.info("loading the data: %s", config.data.source)
    source = load_source(config.data, config.cache_dir)
    data = ImageDataModule(source, config.data, config.seed)
    seen = look(source, data.split)
    for line in seen.sentences():
        log.info("%s", line)
    ready_weights(config)
    net, backbone = build_model(config.model, len(data.classes), config.seed)
    assert config.depth is not None
    labelled = len(labelled_images(data))
    if labelled < FEWEST:
        raise UserError(f"{counted(labelled, 'labelled image')} cannot compare anything; it takes {FEWEST}")
    if 2 * config.depth.folds > labelled:
        raise UserError(
            f"depth.folds={config.depth.folds} leaves less than two of the {labelled} labelled images in a fold; "
            f"set {labelled // 2} at most"
        )
    record = data_record({"training": source.pool, "test": source.test})
    if directory.begun:
        refuse_changed(directory.path, record)
    else:
        share_record(directory.path, data_set(config), record)
    weights = vars(start_weights(config, net, backbone))
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    initial = {key: value.clone() for key, value in net.state_dict().items()}
    directory.begin(config, {DATA: record})
    first = first_answer(net, data, source.test, config, device, Keeping.of(config))
    net.load_state_dict(initial)
    part = taking_part(data.labels[first.indices], config.seed)
    first = first._replace(indices=first.indices[part], features=first.features[part])
    start = SharedStart(
        config, net, ImageSubset(data.inputs, first.indices), data.labels[first.indices], len(data.classes), device
    )
    race = Race(config, directory, first, start)
    race.run()
    found = race_record(race, labelled)
    shown = found["chosen"] or found["nearest"]
    better = any(row["better"] for row in found["settings"] if row["setting"] == shown)
    points = learning_curve(race, shown, better) if config.depth.curve else []
    summary = {
        "status": "complete", "name": config.name, "job": "how_deep", "classes": len(data.classes),
        "weights": weights, "look": seen.record(), "blocks": list(net.names), "first_answer": first.record,
        "race": found, "curve": points, "test_size": len(source.test),
        "precision": config.trainer.precision, "seconds": round(directory.seconds, 1),
    }  # fmt: skip
    directory.write_json("summary.json", summary)
    directory.stop_clock()
    for line in (*table_lines(summary), verdict(summary)):
        log.info("%s", line)
    commands = commands_of(summary, asked_by(directory.path))
    for words, command in commands:
        log.info("  %s", command if len(commands) == 1 else f"{words}: {command}")
    log.info("report: %s", render(directory.path))
    return summary
