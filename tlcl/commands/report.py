"""`tlcl report`: draw the report of a sweep, a run, a comparison or a study again, from its records alone.

No checkpoint is read, no data, and nothing is computed on images: what a directory recorded is enough.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import run_cli


def _program() -> None:
    parser = command_parser(__doc__, "runs/sweeps/finetune/DATE")
    parser.add_argument("directory", type=Path, help="of a sweep, a run, a comparison or a study, or latest")
    options = parser.parse_args()
    from tlcl.reports.report import report
    from tlcl.tracking.latest import whole_directory

    print(f"report: {report(whole_directory(options.directory))}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
