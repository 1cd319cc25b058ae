"""`tlcl report`: draw the report of a sweep, a run, a comparison or a study again, from its records alone.

No checkpoint is read, no data, and nothing is computed on images: what a directory recorded is enough.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli


def report(path: Path) -> Path:
    """Write the report of whatever `path` holds; returns the page's path.

    Raises:
        UserError: it holds none of the things that have one, or records that tlcl does not write.
    """
    from jinja2 import TemplateError

    from tlcl.security.untrusted import refuse_links

    # What code meets in a value of another type than is written there.
    damaged = (ArithmeticError, AttributeError, LookupError, RecursionError, TemplateError, TypeError, ValueError)
    refuse_links(path)
    try:
        return _written(path)
    except damaged as error:  # the directory may be anybody's, with any content in its JSON files
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} has damaged records ({type(error).__name__}: {reason})") from None


def _written(path: Path) -> Path:
    from tlcl.reports.render import render
    from tlcl.reports.study import STUDY, write_study_report
    from tlcl.reports.sweep import write_sweep_report
    from tlcl.tracking.records import read_object
    from tlcl.tracking.sweep_records import SWEEP

    if (path / SWEEP).is_file():
        return write_sweep_report(path)
    if (path / STUDY).is_file():
        return write_study_report(path, read_object(path / STUDY).get("stopped", []))
    if (path / "config.yaml").is_file() and (path / "environment.json").is_file():
        return render(path)
    raise UserError(
        f"{path} is no directory of a sweep ({SWEEP}), a study ({STUDY}) or a run (config.yaml, environment.json)"
    )


def _program() -> None:
    parser = command_parser(__doc__, "runs/sweeps/finetune/DATE")
    parser.add_argument("directory", type=Path, help="of a sweep, a run, a comparison or a study")
    print(f"report: {report(parser.parse_args().directory)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
