"""One self-contained HTML page of a run, made from its directory alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.reports.next_steps import next_step, recorded_path, resume_commands, use_commands
from tlcl.reports.page import (
    base_context,
    embedded_plots,
    missing_records,
    render_page,
    right_answers,
    tested_context,
)
from tlcl.reports.plots.cka import comparable_blocks, left_out
from tlcl.reports.plots.reliability import reliability_caption
from tlcl.reports.tested_blocks import blocks_not_in_checkpoint, of_tested_weights
from tlcl.reports.verdict import finetuning_verdict, label_doubt, one_answer
from tlcl.tracking.calibration import CALIBRATION
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "confusion": "Test images by true and predicted class; the colour is the share of the true class.",
    "mistakes": "The mistakes the network was surest of: true class → prediction.",
    "curves": "Accuracy and loss in each epoch; dashed: blocks thaw; dotted, with a ring: the epoch whose weights "
    "are tested.",
    "thaw": "Which blocks were trained in which epoch, and how fast.",
    "cka": "How alike each block's outputs for the same images are before and after training (linear CKA): 1 the "
    "same but for rotation and scale, 0 unrelated.",
    "reliability": "",  # see `reliability_caption`
    "label_issues": "Labels that look wrong to heads that were fitted without the image; all are in "
    "label_issues.csv.",
    "near_duplicates": "Images that show nearly the same, those of a test image and another first; all are in "
    "near_duplicates.csv.",
    "time": "Where the time of each epoch went; the totals are in the legend.",
}
# What a screen reader says in a picture's place; the caption it reads anyway.
ALTERNATIVES = {
    "curves": "Line charts of training and validation accuracy and loss against the epoch",
    "thaw": "Chart with a row for each block from head to stem, coloured in the epochs in which it was trained",
    "cka": "Bar chart: similarity of each block's outputs before and after training; figures are in summary.json",
    "confusion": "Heat map of true against predicted classes; its figures by class are in the table below",
    "mistakes": "Grid of misclassified test images, each with its true class, predicted class and confidence",
    "reliability": "Line chart of accuracy against confidence, and bars of the number of test images by confidence",
    "label_issues": "Grid of images whose labels look wrong, each with its file, label and the label suggested",
    "near_duplicates": "Pairs of images that are alike, each with its file, part of the split and class",
    "time": "Stacked bars of the seconds of each epoch; the totals are in summary.json",
}
RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "metrics.jsonl": "the epochs' figures",
    "summary.json": "the summary",
    "labels.json": "the class names",
    "test_predictions.npz": "the test predictions",
}


def captions_for(summary: Mapping[str, Any]) -> dict[str, str]:
    """The captions of the plots that say something of this run."""
    captions = dict(CAPTIONS)
    if not comparable_blocks(summary):
        del captions["cka"]
    elif hidden := left_out(summary):
        captions["cka"] += f" Left out: {hidden} that stayed frozen from the first on, whose outputs are the same."
    return captions


def write_report(run_dir: Path) -> Path:
    """Write `report.html` (no outside resource, no script) from what is there; says what is not."""
    run = FinishedRun(run_dir)
    summary, metrics, tested = run.summary, run.metrics, run.predictions
    seconds = [line["seconds"] for line in run.timings]
    tested_weights = of_tested_weights(summary, metrics)
    # A fitted head that stays has no epochs.
    unneeded = {"metrics.jsonl"} if summary.get("answer") == "head" else set()
    path = recorded_path(run)
    records = {name: what for name, what in RECORDS.items() if name not in unneeded}
    if "calibration" in summary:  # older runs have none
        records[CALIBRATION] = "the calibration"
    captions = {**captions_for(tested_weights), "reliability": reliability_caption(run_dir)}
    context: dict[str, Any] = {
        **base_context(run_dir, missing_records(run, records)),
        "plots": embedded_plots(run_dir, captions, ALTERNATIVES),
        "epochs": len(metrics),
        "late_blocks": blocks_not_in_checkpoint(summary, metrics),
        "epoch_seconds": float(np.median(seconds)) if seconds else None,
        "test_acc": summary.get("test_acc"),
        "test_size": summary.get("test_size"),
        **tested_context(tested),
        "label_doubt": label_doubt(summary),
        "commands": use_commands(path) if summary else resume_commands(path),
    }
    if tested is not None:
        # A run killed between its predictions and its summary has a test accuracy all the same.
        size = len(tested.labels)
        context["test_acc"], context["test_size"] = right_answers(tested) / max(1, size), size
        if summary:
            guess = one_answer(tested, (tested_weights.get("look") or {}).get("answer"))
            known = {**tested_weights, "look": guess}
            backbone = str(run.setting("model.arch") or run.setting("model.name") or "network")
            context["verdict"] = finetuning_verdict(backbone, known, right_answers(tested), size, context["pairs"])
            context["advice"] = next_step({**summary, "test_acc": context["test_acc"], "test_size": size})
    return render_page(run_dir, "finetune.html.j2", context)
