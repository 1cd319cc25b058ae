"""The campaign's result as Markdown and as CSV."""

import csv
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from io import StringIO

from torture.case import Outcome

PACKAGES = ("torch", "lightning", "hydra-core", "numpy", "pillow", "wandb")
MARK = {"kept": "kept", "broken": "**broken**", "skipped": "skipped"}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


PREFACE = """# Faults

Back to the [README](../README.md).

What was done to real processes of `tlcl`, what is promised, and what happened. `make torture` does it all again and
writes this page; a promise that is not kept is **broken**, and the command ends with exit code 1.

Runs are small: a small CNN, the embedded digits. *The same end* is the same files in the run directory with
the same contents, to the bit, as a run that nothing interrupted: weights, optimizer, metrics, accuracy matrix,
predictions, plots, summary; but for seconds, dates, and the report that shows them.
"""


def markdown(outcomes: Sequence[Outcome], command: str, seconds: float) -> str:
    """The page `docs/faults.md`."""
    count = {status: sum(outcome.status == status for outcome in outcomes) for status in MARK}
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in PACKAGES)
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()}, {platform.system()})"
    lines = [
        PREFACE,
        f"{len(outcomes)} faults: {count['kept']} kept, {count['broken']} broken, {count['skipped']} skipped.",
        f"`{command}`, {date.today().isoformat()}, {seconds / 60:.0f} minutes on {machine},",
        f"Python {platform.python_version()}, {versions}.",
    ]
    for family in dict.fromkeys(outcome.case.family for outcome in outcomes):
        lines += ["", f"## {family}", "", "| fault | promised | | what happened |", "|---|---|---|---|"]
        rows: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            if outcome.case.family == family:
                rows.setdefault(outcome.case.together or outcome.case.name, []).append(outcome)
        lines += [_row(name, same) for name, same in rows.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    case, statuses = outcomes[0].case, [outcome.status for outcome in outcomes]
    status = next(status for status in ("broken", "skipped", "kept") if status in statuses)
    mark = MARK[status] if len(outcomes) == 1 else f"{statuses.count('kept')} of {len(outcomes)} {MARK['kept']}"
    words = [_cell(f"**{name}**: {case.done}"), _cell(case.promised), mark]
    return f"| {' | '.join([*words, _cell('; '.join(outcome.happened for outcome in outcomes))])} |"


def csv_text(outcomes: Sequence[Outcome]) -> str:
    """A row a case: family, name, done, promised, status, happened, seconds."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["family", "fault", "done", "promised", "status", "happened", "seconds"])
    for one in outcomes:
        case = one.case
        words = (case.family, case.name, case.done, case.promised, one.status, one.happened)
        writer.writerow([*(" ".join(word.split()) for word in words), round(one.seconds, 1)])
    return text.getvalue()
