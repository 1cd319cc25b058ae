"""The table of runs that differ in some keys: a row a setting, its seeds pooled, and what validation chooses.

Pure functions of `sweep_records.RunRecord`s. A table of other runs is made the same way: give each run one with the
keys that matter in its `settings`, then `rows_of(jobs, keys)`.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple

from tlcl.config.kinds import reported_figure, validation_figure
from tlcl.config.race_figures import race_figures
from tlcl.reports.tables.spread import mean_std
from tlcl.tracking.csv_cells import to_cell
from tlcl.tracking.finished_run import COMPLETE, FAILURE
from tlcl.tracking.sweep_records import RunRecord, Value

# further figures of a summary that have a column where any run has them
FURTHER = (
    "average_incremental_accuracy", "forgetting", "backward_transfer", "source_test_acc", "a_distance", "head_acc",
    "gain", "found",
)  # fmt: skip


# between which validation chooses nothing: their figures are answers to different questions
CONDITIONS = (
    "data", "data@source", "data.train_size", "data.train", "data.test", "data.root", "data.domain",
    "data.shift", "data.images_per_class", "source.train_size", "source.train", "source.root", "source.domain",
    "experiment", "continual",
    "adaptation.target_labels",
)  # fmt: skip


class Row(NamedTuple):
    """All runs with one setting.

    Attributes:
        settings: of the keys that make the table.
        jobs: complete, failed or missing.
        validation: what a choice may rest on, of each complete run that has it (see `validation_figure`).
        test: what is reported, likewise.
        seconds: of each complete run.
        further: the other figures, by their names.
    """

    settings: dict[str, Value]
    jobs: list[RunRecord]
    validation: list[float]
    test: list[float]
    seconds: list[float]
    further: dict[str, list[float]]

    @property
    def complete(self) -> int:
        return sum(job.status == COMPLETE for job in self.jobs)

    @property
    def failed(self) -> int:
        return sum(job.status == FAILURE for job in self.jobs)


def rows_of(jobs: Sequence[RunRecord], keys: Sequence[str]) -> list[Row]:
    """A row for each distinct setting of `keys`, ordered by it: numbers by size, others as they first come."""
    groups: dict[tuple[Value, ...], list[RunRecord]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.settings.get(key) for key in keys), []).append(job)
    rows = []
    for place, members in groups.items():
        summaries = [{**job.summary, **race_figures(job.summary)} for job in members if job.status == COMPLETE]
        rows.append(
            Row(
                dict(zip(keys, place, strict=True)),
                members,
                _known(validation_figure(summary) for summary in summaries),
                _known(reported_figure(summary) for summary in summaries),
                _known(summary.get("seconds") for summary in summaries),
                {name: _known(summary.get(name) for summary in summaries) for name in FURTHER},
            )
        )
    order = {key: values_of(rows, key) for key in keys}
    return sorted(rows, key=lambda row: [order[key].index(row.settings[key]) for key in keys])


def _known(values: Any) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def values_of(rows: Sequence[Row], key: str) -> list[Value]:
    """The distinct values of a key: numbers by size, then others as they first come."""
    values = list(dict.fromkeys(row.settings[key] for row in rows))
    numbers = sorted((value for value in values if is_number(value)), key=float)  # type: ignore[arg-type]
    return [*numbers, *(value for value in values if not is_number(value))]


def numeric(rows: Sequence[Row], key: str) -> bool:
    """Whether all values of a key are numbers."""
    return all(is_number(value) for value in values_of(rows, key))


def score(row: Row) -> float:
    """Mean validation figure of a row, without the noise of float32 that would tell equals apart."""
    mean = mean_std(row.validation)[0]
    return -math.inf if mean is None else round(mean, 6)


def is_condition(key: str) -> bool:
    """Whether a key says what is asked (on which data, by how many labels), not how it is done."""
    return key in CONDITIONS or key.startswith("continual.")


def best_of_each(rows: Sequence[Row], within: Sequence[str]) -> list[Row]:
    """For each setting of the keys `within`, the row with the highest mean validation figure.

    Among equals the first, which of `thaw.depth` is the one that trains least. Test figures play no part.
    """
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        if row.validation:
            groups.setdefault(tuple(row.settings[key] for key in within), []).append(row)
    return [max(group, key=score) for group in groups.values()]


def chosen(rows: Sequence[Row]) -> list[Row]:
    """What validation chooses under each condition (see `is_condition`); none where nothing else varies."""
    keys = list(rows[0].settings) if rows else []
    conditions = [key for key in keys if is_condition(key)]
    return best_of_each(rows, conditions) if len(conditions) < len(keys) else []


def records_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table as plain records: keys, `runs` (complete), `planned`, `failed`, means and `_std` of the figures.

    `_std` is the sample standard deviation (n - 1), None for one run; `chosen` marks what validation chooses.
    """
    best, table = [id(row) for row in chosen(rows)], []
    extra = [name for name in FURTHER if any(row.further[name] for row in rows)]
    for row in rows:
        record: dict[str, Any] = dict(row.settings)
        record.update(runs=row.complete, planned=len(row.jobs), failed=row.failed)
        for name, values in (("validation", row.validation), ("test", row.test)):
            record[name], record[f"{name}_std"] = mean_std(values)
        for name in extra:
            record[name], record[f"{name}_std"] = mean_std(row.further[name])
        record["seconds"] = mean_std(row.seconds)[0]
        record["chosen"] = id(row) in best
        table.append(record)
    return table


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as CSV, a line each below the heading; what is not known is empty."""
    text = StringIO()
    if records:
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: to_cell(value) for key, value in record.items()} for record in records)
    return text.getvalue()
