"""The report of whatever a directory holds: a sweep, a study or a run."""

from pathlib import Path

from jinja2 import TemplateError

from tlcl.errors import UserError
from tlcl.reports.pair import write_pair
from tlcl.reports.render import render
from tlcl.reports.study import STUDY, write_study_report
from tlcl.reports.sweep import write_sweep_report
from tlcl.security.untrusted import refuse_links
from tlcl.tracking.records import read_object
from tlcl.tracking.sweep_records import SWEEP

# What code meets in a value of another type than is written there.
DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TemplateError, TypeError, ValueError)


def report(path: Path) -> Path:
    """Write the report of the sweep, study or run that `path` holds; returns the page's path.

    Raises:
        UserError: it holds none of the things that have one, or records that tlcl does not write.
    """
    refuse_links(path)
    try:
        return _write_report(path)
    except DAMAGED as error:  # the directory may be anybody's, with any content in its JSON files
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} has damaged records ({type(error).__name__}: {reason})") from None


def report_pair(first: Path, second: Path, out: Path) -> str:
    """Write the page of two runs to `out`; returns whether one is better than the other.

    Raises:
        UserError: as `report`, and runs that cannot be compared, see `tlcl.reports.pair`.
    """
    for path in (first, second):
        refuse_links(path)
    try:
        return write_pair(first, second, out)
    except DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{first} or {second} has damaged records ({type(error).__name__}: {reason})") from None


def _write_report(path: Path) -> Path:
    if (path / SWEEP).is_file():
        return write_sweep_report(path)
    if (path / STUDY).is_file():
        return write_study_report(path, read_object(path / STUDY).get("stopped", []))
    if (path / "config.yaml").is_file() and (path / "environment.json").is_file():
        return render(path)
    raise UserError(
        f"{path} is no directory of a sweep ({SWEEP}), a study ({STUDY}) or a run (config.yaml, environment.json)"
    )
