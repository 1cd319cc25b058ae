"""The one page of a study: what its runs say together, with a link to each part's own report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tlcl.reports.compare import verdict_of
from tlcl.reports.page import base_context, embedded_plots, render_page
from tlcl.reports.paired import difference_words, paired_runs, runs_of
from tlcl.reports.plots.style import save_figures
from tlcl.reports.plots.sweep import DEPTH, heat_map, lines
from tlcl.reports.tables.spread import mean_std
from tlcl.reports.tables.sweep import Row, best_of_each, csv_text, records_of, rows_of
from tlcl.statistics.paired import Difference, together
from tlcl.system.figures import counted
from tlcl.system.files import atomic_write_text
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.sweep_records import POOLED, RunRecord, job_in

SIZE, STUDY = "data.train_size", "study.json"
LAYERWISE, GRID, CONTINUAL, ADAPTATION = "layerwise", "grid", "continual", "adaptation"
TITLES = {
    LAYERWISE: "Layer by layer: the head first, then layer4, then layer3",
    GRID: "How much should be retrained?",
    CONTINUAL: "What is forgotten, and what stops it?",
    ADAPTATION: "What if the target has no labels?",
}
# part -> plot -> (caption, what a screen reader says)
PICTURES = {
    LAYERWISE: {
        "curves": (
            "Accuracy and loss in each epoch; a dashed line marks the epoch at whose start a block thaws.",
            "Line charts of accuracy and loss against the epoch",
        ),
        "time": ("Where the time of each epoch went.", "Stacked bars of the seconds of each epoch"),
    },
    GRID: {
        "depth_heatmap": (
            "Test accuracy in %, mean ± standard deviation over the seeds. Framed: the depth that the validation "
            "images choose in each row.",
            "Heat map of test accuracy, freeze depth against labelled images; its figures are in grid.csv",
        ),
        "depth_curves": (
            "The same as lines, one a number of labelled images; the framed depths are in the heat map.",
            "Line chart of test accuracy against depth, a line a number of labelled images",
        ),
    },
    CONTINUAL: {
        "curves": ("Accuracy on all classes so far, after each task.", "Line chart with a line a method"),
        "final": ("Accuracy on all classes after the last task.", "Bar chart of the methods' accuracies"),
    },
    ADAPTATION: {
        "target": (
            "Accuracy on the target's test images: digits rendered from fonts have labels, handwritten ones have "
            "none (ccsa, fine_tune: a few; target_oracle: all).",
            "Bar chart of the methods' accuracies on the target",
        ),
    },
}


def grid_rows(runs: Sequence[Path]) -> list[Row]:
    """A row for each freeze depth and number of labelled images of the complete runs in these directories."""
    jobs: list[RunRecord] = []
    for run in map(FinishedRun, runs):
        depth = OmegaConf.select(run.config, DEPTH) if run.complete else None
        if depth is not None:
            settings = {SIZE: run.summary["train_size"], DEPTH: depth, POOLED: run.setting("seed")}
            jobs.append(job_in(run.path, run.path.parent, len(jobs), settings))
    return rows_of(jobs, [SIZE, DEPTH])


def grid_sentence(rows: Sequence[Row], root: Path) -> str:
    """The grid's finding in words: what validation chose, and what that brings on the same test images.

    Args:
        root: directory of the runs.
    """
    heads = {row.settings[SIZE]: row for row in rows if row.settings[DEPTH] == 0}
    chosen, pairs = best_of_each(rows, [SIZE]), dict[object, Difference]()
    for row in chosen:
        size = row.settings[SIZE]
        if row.settings[DEPTH] != 0 and size in heads:
            pairs |= paired_runs(runs_of(heads[size], root), {size: runs_of(row, root)})
    adjusted, parts = together(pairs), []
    for row in chosen:
        size, depth = row.settings[SIZE], row.settings[DEPTH]
        blocks = "the head alone" if depth == 0 else f"the head and the last {depth} blocks"
        known = [f"{100 * (mean_std(row.test)[0] or 0):.1f} %"]
        if size in adjusted:
            pair = adjusted[size]
            told = "" if pair.told_apart else ", cannot be told apart"
            known.append(f"{difference_words(pair)} points over the head alone{told}")
        parts.append(f"with {size:,} labels {blocks} ({', '.join(known)})")
    return f"Chosen on validation images (in brackets, test accuracy): {'; '.join(parts)}." if parts else ""


def write_study_report(root: Path, stopped: Sequence[str]) -> Path:
    """Draw the grid and write `report.html` from the runs below `root`; a part that has no runs yet is left out.

    Args:
        stopped: sentences on runs that failed.
    """
    atomic_write_text(root / STUDY, json.dumps({"stopped": list(stopped)}) + "\n")
    rows = grid_rows(sorted((root / GRID / "runs").glob("*")))
    sentences: dict[str, str] = {}
    if rows:
        figures = {"depth_heatmap": heat_map(rows, DEPTH, SIZE), "depth_curves": lines(rows, DEPTH)}
        save_figures(root / GRID, figures)
        atomic_write_text(root / GRID / "grid.csv", csv_text(records_of(rows)))
        sentences[GRID] = grid_sentence(rows, root / GRID / "runs")
    summary = FinishedRun(root / LAYERWISE).summary
    if summary:
        images = counted(summary["test_size"], "image")
        sentences[LAYERWISE] = f"Test accuracy {100 * summary['test_acc']:.1f} % on {images}."
    sentences |= {part: verdict_of(root / part) for part in (CONTINUAL, ADAPTATION)}
    sections: list[dict[str, Any]] = []
    for part, title in TITLES.items():
        captions = {name: caption for name, (caption, _) in PICTURES[part].items()}
        plots = embedded_plots(root / part, captions, {name: text for name, (_, text) in PICTURES[part].items()})
        if plots:
            link = f"{part}/report.html" if (root / part / "report.html").is_file() else None
            sections.append({"title": title, "plots": plots, "sentence": sentences.get(part, ""), "link": link})
    context = {**base_context(root, []), "plots": [], "sections": sections, "stopped": stopped}
    return render_page(root, "study.html.j2", context)
