"""One self-contained HTML page of a run, made from its directory alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.reports.page import (
    base_context,
    embedded_plots,
    missing_records,
    render_page,
    right_answers,
    tested_context,
)
from tlcl.reports.plots.reliability import reliability_caption
from tlcl.tracking.calibration import CALIBRATION
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "curves": "Accuracy and loss in each epoch; a dashed line marks the epoch at whose start blocks thaw.",
    "thaw": "Which blocks were trained in which epoch, and how fast.",
    "cka": "How alike each block's outputs for the same images are before and after training (linear CKA): 1 the "
    "same but for rotation and scale, 0 unrelated.",
    "confusion": "Test images by true and predicted class; the colour is the share of the true class.",
    "mistakes": "The mistakes the network was surest of: true class → prediction.",
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


def blocks_not_in_checkpoint(summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Blocks that thawed only after the tested checkpoint's epoch: in the tested weights they are untrained."""
    epoch = summary.get("selected", {}).get("epoch")
    if epoch is None or not metrics:
        return []
    learnt = {block for line in metrics if line["epoch"] <= epoch for block in line["trainable"]}
    return [block for block in metrics[-1]["trainable"] if block not in learnt]


def write_report(run_dir: Path) -> Path:
    """Write `report.html` (no outside resource, no script) from what is there; says what is not."""
    run = FinishedRun(run_dir)
    summary, metrics, tested = run.summary, run.metrics, run.predictions
    seconds = [line["seconds"] for line in run.timings]
    # A fitted head that stays has no epochs.
    unneeded = {"metrics.jsonl"} if summary.get("answer") == "head" else set()
    records = {name: what for name, what in RECORDS.items() if name not in unneeded}
    if "calibration" in summary:  # older runs have none
        records[CALIBRATION] = "the calibration"
    captions = {**CAPTIONS, "reliability": reliability_caption(run_dir)}
    context: dict[str, Any] = {
        **base_context(run_dir, missing_records(run, records)),
        "plots": embedded_plots(run_dir, captions, ALTERNATIVES),
        "epochs": len(metrics),
        "late_blocks": blocks_not_in_checkpoint(summary, metrics),
        "epoch_seconds": float(np.median(seconds)) if seconds else None,
        "test_acc": summary.get("test_acc"),
        "test_size": summary.get("test_size"),
        **tested_context(tested),
    }
    if tested is not None:
        # A run killed between its predictions and its summary has a test accuracy all the same.
        size = len(tested.labels)
        context["test_acc"], context["test_size"] = right_answers(tested) / max(1, size), size
    return render_page(run_dir, "finetune.html.j2", context)
