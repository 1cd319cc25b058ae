"""The HTML page of a domain adaptation, made from its directory alone."""

from pathlib import Path

from tlcl.reports.asked import CACHE, compare_command
from tlcl.reports.finetune import ALTERNATIVES as FINETUNING_ALTERNATIVES
from tlcl.reports.finetune import RECORDS as FINETUNING_RECORDS
from tlcl.reports.next_steps import adaptation_step, recorded_path, resume_commands, use_commands
from tlcl.reports.page import base_context, embedded_plots, missing_records, render_page, tested_context
from tlcl.reports.verdict import adaptation_verdict, one_answer
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "embedding": "t-SNE of the outputs of the block whose distances are given here, for test images of both "
    "domains, before and after: above by domain, below by class. Aligned domains overlap, and each class is one "
    "cloud of both.",
    "curves": "Accuracies, the target's prediction entropy, and the terms of the loss before they are weighted.",
    "thaw": "Which blocks were trained in which epoch, and how fast.",
    "confusion": "The target's test images by true and predicted class; the colour is the share of the true class.",
    "mistakes": "The mistakes on the target's test images that the network was surest of: true class → prediction.",
    "time": "Where the time of each epoch went; the totals are in the legend.",
}
ALTERNATIVES = {
    **FINETUNING_ALTERNATIVES,
    "embedding": "Scatter plots of both domains' test images before and after, coloured by domain and by class",
    "curves": "Line charts of accuracies, the target's prediction entropy and the loss terms against the epoch",
}
RECORDS = {**FINETUNING_RECORDS, "embedding.npz": "the map of both domains"}
UNSUPERVISED = ("source_only", "dann", "mcc")  # compared where the target has no labels
VALIDATORS = {
    "last": "the last epoch, whatever its figures",
    "source_entropy": "the highest source validation accuracy minus target prediction entropy",
}


def _for_others(run: FinishedRun) -> list[str]:
    """What the compared methods need that this run did without: trained blocks."""
    if run.metrics and run.metrics[-1].get("trainable") == ["head"]:
        return ["thaw=all", f"~{CACHE}"]  # what is drawn anew for trained blocks cannot be kept
    return []


def write_adaptation_report(run_dir: Path) -> Path:
    """Write `report.html` from what is there; says what is not."""
    run = FinishedRun(run_dir)
    untested = {"test_predictions.npz"} if run.complete and run.summary.get("test_acc") is None else set()
    records = {name: what for name, what in RECORDS.items() if name not in untested}
    summary, tested, path = run.summary, run.predictions, recorded_path(run)
    own, methods = str(run.setting("adaptation.name")), () if summary.get("target_labelled", True) else UNSUPERVISED
    compare = compare_command(
        run_dir, "adaptation", "adaptation", "adapt_compare", own, methods, anew=_for_others(run)
    )
    context = {
        **base_context(run_dir, missing_records(run, records)),
        "plots": embedded_plots(run_dir, CAPTIONS, ALTERNATIVES),
        "epochs": len(run.metrics),
        "validators": VALIDATORS,
        **tested_context(tested),
        "commands": [*use_commands(path), ("compare the methods", compare)] if summary else resume_commands(path),
    }
    if summary:
        guess = {} if tested is None else one_answer(tested)
        context |= {"verdict": adaptation_verdict(summary, guess), "advice": adaptation_step(summary)}
    return render_page(run_dir, "adaptation.html.j2", context)
