"""What a sweep's directory records: its plan in sweep.json, each job's settings and how the job stands."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlcl.tracking.finished_run import BEGUN, COMPLETE, FAILURE, MISSING, FinishedRun
from tlcl.tracking.records import read_object

SWEEP, JOB = "sweep.json", "job.json"
POOLED = "seed"  # runs that differ in this key alone are repetitions

Value = int | float | str | bool | None


class RunRecord(NamedTuple):
    """One job of a sweep.

    Attributes:
        number: its place in the sweep, from 0; the default name of its directory.
        path: its directory, relative to the sweep's; None when it has not begun.
        settings: key -> value as the command line gives it, of every key the job was given.
        status: complete, failed, begun (running, or killed) or missing.
        reason: why it failed, one sentence.
        summary: of the complete run; else empty.
    """

    number: int
    path: Path | None
    settings: dict[str, Value]
    status: str
    reason: str
    summary: dict[str, Any]


class Sweep(NamedTuple):
    """A sweep's records.

    Attributes:
        jobs: in order of their numbers; planned ones that have not begun included, where the plan names them.
        keys: those whose values vary, in the command line's order, without the seed.
        planned: how many jobs there are to be.
        search: whether a sampler proposes the jobs, so that the plan cannot name them.
    """

    jobs: list[RunRecord]
    keys: list[str]
    planned: int
    search: bool


def parse_value(text: str) -> Value:
    """A value of the command line: `50`, `1e-3`, `true`, `null`; anything else is a text, without its quotes."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    words: dict[str, Value] = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def settings_of(overrides: Sequence[str]) -> dict[str, Value]:
    """`["+experiment=a", "thaw.depth=0", "~method"]` gives {experiment: a, thaw.depth: 0, method: "taken out"}."""
    settings: dict[str, Value] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if override.startswith("~"):
            settings[key[1:]] = "taken out"
        elif equals:
            settings[key.lstrip("+")] = parse_value(value)
    return settings


def varying(settings: Sequence[Mapping[str, Value]]) -> list[str]:
    """The keys that not all of these have with the same value, in order, without the seed."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if key != POOLED and len({repr(one.get(key, "absent")) for one in settings}) > 1]


def job_in(path: Path, root: Path, number: int, settings: dict[str, Value]) -> RunRecord:
    """How the run in `path`, below `root`, stands."""
    run = FinishedRun(path)
    status, summary = run.status, run.summary
    if settings.get("data.train_size", 0) is None and status == COMPLETE:  # null: all there are
        settings = {**settings, "data.train_size": summary.get("train_size")}
    complete = status == COMPLETE
    reason = "" if complete else run.failure.get("sentence", "")
    return RunRecord(number, path.relative_to(root), settings, status, reason, summary if complete else {})


def read_job(path: Path, root: Path) -> RunRecord | None:
    """The job that is recorded in `path`, below the sweep's directory `root`; None when there is none."""
    about = read_object(path / JOB)
    if not about:
        return None
    job = job_in(path, root, about["number"], settings_of(about["overrides"]))
    return job._replace(status=BEGUN) if job.status == MISSING else job


def read_sweep(root: Path) -> Sweep:
    """What the records in `root` say; no checkpoint and no data is read."""
    plan = read_object(root / SWEEP)
    found = {job.number: job for job in (read_job(path.parent, root) for path in root.rglob(JOB)) if job}
    for number, overrides in enumerate(plan.get("jobs") or []):
        if number not in found:
            found[number] = RunRecord(number, None, settings_of(overrides), MISSING, "", {})
    jobs = [found[number] for number in sorted(found)]
    keys = varying([job.settings for job in jobs])
    return Sweep(jobs, keys, max(int(plan.get("planned") or 0), len(jobs)), plan.get("jobs") is None)


def read_plan(root: Path) -> dict[str, Any] | None:
    """`sweep.json`; None when there is none or it is damaged."""
    try:
        return dict(json.loads((root / SWEEP).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def described(settings: Mapping[str, Value], keys: Sequence[str]) -> str:
    """`thaw.depth=0 seed=1`: these keys, and the seed where there is one; floats to four digits."""
    shown = [key for key in dict.fromkeys((*keys, POOLED)) if key in settings]
    return " ".join(f"{key}={shortened(settings[key])}" for key in shown)


def failure_sentences(sweep: Sweep) -> list[str]:
    """A sentence for each reason: the settings of the jobs that failed for it, and where they are recorded."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for job in sweep.jobs:
        if job.status == FAILURE:
            setting = " ".join(f"{key}={shortened(job.settings.get(key))}" for key in sweep.keys) or "all settings"
            reasons.setdefault(job.reason, {}).setdefault(setting, []).append(str(job.path))
    sentences = []
    for reason, settings in reasons.items():
        names = [f"{setting} (in {', '.join(paths)})" for setting, paths in settings.items()]
        sentences.append(f"{'; '.join(names)}: {reason}")
    return sentences


def shortened(value: Value) -> str:
    """As it is shown to people."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
