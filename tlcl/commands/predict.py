"""`tlcl predict RUN_DIR IMAGES...`: classify your own images with the model of a finished run.

Prints a table, or writes it with --csv: file, predicted class, confidence, and the probability of each class. The
model is the run's chosen checkpoint; a continual run answers by its method's own rule, with all classes competing.
"""

import sys
from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli
from tlcl.system.files import atomic_write_text


def _program() -> None:
    parser = command_parser(__doc__, "runs/finetune_layerwise/DATE NEW_IMAGES/ --csv predictions.csv")
    parser.add_argument("run_dir", type=Path, help="directory of a finished run, or latest")
    parser.add_argument("images", type=Path, nargs="+", help="image files, folders or tar files of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table here instead of printing it")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at once (default 256)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable files out and name them")
    options = parser.parse_args()
    if options.batch_size < 1:
        raise UserError(f"--batch-size={options.batch_size} must be at least 1")
    from tlcl.jobs.finished import predictions
    from tlcl.tracking.latest import finished_directory

    table = predictions(
        finished_directory(options.run_dir),
        options.images,
        batch_size=options.batch_size,
        skip_bad=options.skip_bad,
        progress=sys.stderr.isatty(),
    )
    if options.csv is None:
        print(table, end="")
        return
    try:
        atomic_write_text(options.csv, table)
    except OSError as error:
        raise UserError(f"--csv={options.csv} cannot be written: {error.strerror or error}") from None
    print(f"{len(table.splitlines()) - 1} predictions in {options.csv}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
