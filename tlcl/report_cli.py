"""`tlcl-report`: draw the report of a sweep, a run, a comparison or a study again, from its records alone.

No checkpoint is read, no data, and nothing is computed on images: what a directory recorded is enough.
"""

import argparse
from pathlib import Path

from tlcl.errors import UserError, run_cli
from tlcl.tracking.render import render
from tlcl.tracking.report import read_object
from tlcl.tracking.study_report import STUDY, write_study_report
from tlcl.tracking.sweep_records import SWEEP
from tlcl.tracking.sweep_report import write_sweep_report


def report(path: Path) -> Path:
    """Write the report of whatever `path` holds; returns the page's path.

    Raises:
        UserError: it holds none of the things that have one.
    """
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
    parser = argparse.ArgumentParser(
        prog="tlcl-report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: tlcl-report runs/sweeps/finetune/DATE",
    )
    parser.add_argument("directory", type=Path, help="of a sweep, a run, a comparison or a study")
    print(f"report: {report(parser.parse_args().directory)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
