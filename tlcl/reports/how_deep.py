"""Table, sentence, pictures and page of how deep to retrain, from the records alone."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlcl.config.flags import preset_flags
from tlcl.config.race_figures import is_finding
from tlcl.config.unread import HEAD_ALONE
from tlcl.reports.asked import asked_by, key_of, overrides, program
from tlcl.reports.next_steps import recorded_path, resume_commands
from tlcl.reports.page import base_context, embedded_plots, missing_records, render_page
from tlcl.reports.plots.how_deep import gains_figure, learning_curve
from tlcl.reports.plots.style import save_figures
from tlcl.system.figures import count, counted, duration, points, signed_interval, signed_points, three_digits
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import RACED, read_lines

RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "summary.json": "the summary",
}
CAPTIONS = {
    "gains": "How many points more of the held-out images are right than with the head alone; the bars are 95 % "
    "intervals. Filled: better than the head alone, with all settings tested together. Hollow: not. Orange: "
    "recommended, as a finding or as a guess. Small: left the race early, on fewer images.",
    "learning_curve": "Accuracy on the held-out images of the first two folds by the number of labelled images "
    "trained on; the bands are 95 % intervals of each by itself. Hollow: cannot be told apart from the head alone "
    "on the same images, with all numbers of labels and all settings tested together; with all labels, by the "
    "whole race. Of fewer the luck of the two trainings is not counted.",
}
ALTERNATIVES = {
    "gains": "Points with intervals: gain over the head alone of each setting; its figures are in the table",
    "learning_curve": "Lines of accuracy against the number of labels, for the head alone and a deeper model",
}
WHY = {
    "worse": "worse than the best so far",
    "no_gain": "hardly a chance to gain",
    "hopeless": "no chance to tell",  # in races of before
    "behind": "not ahead of those that stayed",
    "stopped": "not trainable",
    "few": "too few images a fold",
}
OURS = ("run_dir", "name", "depth", "thaw", "trainer.epochs", "trainer.select")  # keys that are not handed on


def interval_words(row: Mapping[str, Any]) -> str:
    """`+1.2 (-0.4 to +2.9)` points."""
    return signed_interval(row["gain"], row["low"], row["high"])


def left_words(row: Mapping[str, Any], folds: int) -> str:
    """When and why a setting left the race; empty where it did not."""
    out = row["out"]
    if out and not out["after"]:
        return f"not asked: {WHY[out['why']]}"
    return f"out after fold {out['after']}/{folds}: {WHY[out['why']]}" if out else ""


def memory_words(size: int | None) -> str:
    return "–" if size is None else f"{three_digits(size / 2**20)} MiB"


def table_lines(summary: Mapping[str, Any]) -> list[str]:
    """The table for a terminal."""
    race = summary["race"]
    head = race["head"]
    rows = [("setting", "trains", "gain over the head, points (95 %)", "seconds", "memory", "")]
    rows.append(("head", "the head alone", f"{points(head['acc'])} % are right", "–", "–", ""))
    for row in race["settings"]:
        time = "–" if row["seconds"] is None else duration(row["seconds"])
        rows.append(
            (row["setting"], row["words"], interval_words(row), time, memory_words(row["bytes"]),
             left_words(row, race["folds"]))
        )  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    ]


def verdict(summary: Mapping[str, Any]) -> str:
    """What to do, in a sentence or two."""
    race = summary["race"]
    rows = {row["setting"]: row for row in race["settings"]}
    chosen, nearest = race["chosen"], race["nearest"]
    if nearest is None:
        few = any((row["out"] or {}).get("why") == "few" for row in rows.values())
        return f"Keep the head: no {'depth' if few else 'deeper model'} could be trained."
    row = rows[chosen or nearest]
    asked = sum(row["gain"] is not None for row in rows.values())
    together = "" if asked == 1 else f" with all {asked} settings tested together"
    on = f"on {_held_out(row, race)}"
    if chosen is not None and is_finding(row):
        return (
            f"Retrain {_what(row)}: {interval_words(row)} points more than the head alone {on}, more than "
            f"chance{together} (p = {row['p']:.2g})."
        )
    if chosen is not None:
        p = f" (p = {row['p']:.2g}{together})" if row["low"] > 0 else ""
        guess = (
            f"Deeper cannot be told apart from the head alone. The better guess is to retrain {_what(row)}: "
            f"{interval_words(row)} points {on}{p}{_expected_words(row)}."
        )
        return guess + _more_words(race)
    if (row["out"] or {}).get("why") == "stopped":
        had = f"with {interval_words(row)} points {on}"
        return f"Keep the head: {_what(row)}, {had}, could not be trained to the end."
    if row["high"] < 0:
        return f"Keep the head: the nearest, {_what(row)}, has {interval_words(row)} points {on}."
    said = (
        f"Keep the head: deeper cannot be told apart from it; the nearest, {_what(row)}, has {interval_words(row)} "
        f"points {on}."
    )
    return said + _more_words(race)


def _expected_words(row: Mapping[str, Any]) -> str:
    """What is expected of a guess; empty for races of before."""
    if row.get("expected") is None:
        return ""
    such = "depths" if row["depth"] is not None else "sets of blocks"
    few = "so few images say little; " if row["gain"] <= 0 else ""
    return f"; {few}with what such {such} gained on other images, {signed_points(row['expected'])} are expected"


def _held_out(row: Mapping[str, Any], race: Mapping[str, Any]) -> str:
    """`1,200 held-out images`, with of how many where not all were asked or take part."""
    asked = count(row["asked"])
    if row["asked"] < race["images"]:
        asked = f"{asked} of {count(race['images'])}"
    partly = f" ({count(race['images'])} of the {count(race['labelled'])} labelled)"
    return f"{asked} held-out images{partly if race['images'] < race['labelled'] else ''}"


def _more_words(race: Mapping[str, Any]) -> str:
    if race.get("lucky"):
        return " Its gain differs from one training to the next; more labels alone may not tell."
    if not race["more_labels"]:
        return ""
    return f" If its gain is what it looks like, about {counted(race['more_labels'], 'more label')} would tell."


def _what(row: Mapping[str, Any]) -> str:
    if row["depth"] is not None:
        return f"{row['words']} (depth {row['depth']})"
    return str(row["words"])


def commands_of(summary: Mapping[str, Any], asked: Sequence[str]) -> list[tuple[str, str]]:
    """What to type, with what it does: train what is found, or keep the head; both of a guess.

    Args:
        asked: see `tlcl.reports.asked.asked_by`.
    """
    race = summary["race"]
    row = next((row for row in race["settings"] if row["setting"] == race["chosen"]), None)
    head = _command(None, asked)
    if row is None:
        return [("keep the head", head)]
    if is_finding(row):
        return [("train what is better", _command(row, asked))]
    return [("train the better guess", _command(row, asked)), ("or keep the head", head)]


def _command(row: Mapping[str, Any] | None, asked: Sequence[str]) -> str:
    """That of a setting, or of the head alone, from the one that asked."""
    given = overrides(asked)
    if row is None:
        own, taken = ["thaw=head_only"], [*OURS, *HEAD_ALONE]
    else:
        cleared = [] if row["depth"] is not None or row["setting"] == "norms" else ["thaw=milestones"]
        taken = [*OURS, "optim.head", "trainer.patience"]
        own = [
            *cleared, *row["overrides"], "optim.head=lp_ft", f"trainer.epochs={row['epochs']}",
            "trainer.patience=null", "trainer.select=last",
        ]  # fmt: skip
    experiment = ["+experiment=own_images"] if "+experiment=how_deep" in given else []
    kept = [word for word in given if not _is_one_of(word, taken)]
    return shlex.join([*program(asked), *preset_flags(asked), *experiment, *kept, *own])


def _is_one_of(word: str, keys: Sequence[str]) -> bool:
    key = key_of(word)
    mine = any(key == one or key.startswith(f"{one}.") for one in (*keys, "depth", "thaw"))
    return word == "+experiment=how_deep" or mine or key.startswith("hydra")


def save_how_deep_plots(root: Path) -> list[Path]:
    """Draw what the records allow into `plots/`."""
    summary = FinishedRun(root).summary
    if "race" not in summary:
        return []
    figures = {"gains": gains_figure(summary["race"])}
    if len(summary.get("curve") or []) > 1:
        figures["learning_curve"] = learning_curve(summary["curve"], _name(summary))
    return save_figures(root, figures)


def _name(summary: Mapping[str, Any]) -> str:
    race = summary["race"]
    wanted = race["chosen"] or race["nearest"]
    return next((row["words"] for row in race["settings"] if row["setting"] == wanted), "deeper")


def write_how_deep_report(root: Path) -> Path:
    """Write `report.html` from what is there; says what is not."""
    run = FinishedRun(root)
    context: dict[str, Any] = {**base_context(root, missing_records(run, RECORDS)), "rows": [], "plots": []}
    if "race" in run.summary:
        race = run.summary["race"]
        context |= {
            "verdict": verdict(run.summary),
            "commands": commands_of(run.summary, asked_by(root)),
            "plots": embedded_plots(root, CAPTIONS, ALTERNATIVES),
            "race": race,
            "rows": [
                {**row, "gained": interval_words(row), "left": left_words(row, race["folds"])}
                for row in race["settings"]
            ],
            "memory_words": memory_words,
        }
    else:
        whole = [line for line in read_lines(root / RACED) if line.get("share") == 1]
        context["done"] = Counter(str(line.get("setting")) for line in whole)
        context["commands"] = resume_commands(recorded_path(run))
    return render_page(root, "how_deep.html.j2", context)
