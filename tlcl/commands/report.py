"""`tlcl report`: draw the report of a sweep, a run, a comparison or a study again, from its records alone.

Of two runs, `tlcl report A B`, it says whether one is better than the other by more than chance on the same test
images, and writes a page that shows by class where they differ. No checkpoint is read, no data, and nothing is
computed on images: what a directory recorded is enough.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli


def _program() -> None:
    parser = command_parser(__doc__, "runs/sweeps/finetune/DATE", "runs/own_images/DATE latest --out pair.html")
    parser.add_argument("directory", type=Path, help="of a sweep, a run, a comparison or a study, or latest")
    parser.add_argument("other", type=Path, nargs="?", help="a second run: both are compared")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page of two runs (default pair.html)")
    options = parser.parse_args()
    from tlcl.reports.report import report, report_pair
    from tlcl.tracking.latest import finished_directory, whole_directory

    if options.other is not None:
        out = options.out or Path("pair.html")
        both = finished_directory(options.directory), finished_directory(options.other)
        try:
            print(report_pair(*both, out))
        except OSError as error:
            raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from None
        print(f"report: {out}")
        return
    if options.out is not None:
        raise UserError("--out names the page of two runs; a run's own is report.html in its directory")
    print(f"report: {report(whole_directory(options.directory))}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
