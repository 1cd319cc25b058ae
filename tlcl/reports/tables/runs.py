"""The long table of many runs: a row a run, whatever they are for."""

from collections.abc import Sequence
from pathlib import Path

from tlcl.config.kinds import reported_figure, validation_figure
from tlcl.reports.tables.sweep import csv_text
from tlcl.system.files import atomic_write_text
from tlcl.tracking.sweep_records import POOLED, RunRecord, varying

RUNS = "runs.csv"


def write_runs(root: Path, jobs: Sequence[RunRecord]) -> None:
    """Write `runs.csv` into `root`.

    Its columns: the run's folder in `root`, each key whose values vary and the seed, the status, why it failed, its
    seconds, and its validation and test figure, 0 to 1 (see `tlcl.config.kinds`); what is not known is empty.
    """
    settings = [job.settings for job in jobs]
    keys = [*varying(settings), *([POOLED] if any(POOLED in one for one in settings) else [])]
    records = [
        {
            "folder": None if job.path is None else job.path.as_posix(),
            **{key: job.settings.get(key) for key in keys},
            "status": job.status,
            "reason": job.reason,
            "seconds": job.summary.get("seconds"),
            "validation": validation_figure(job.summary),
            "test": reported_figure(job.summary),
        }
        for job in jobs
    ]
    atomic_write_text(root / RUNS, csv_text(records))
