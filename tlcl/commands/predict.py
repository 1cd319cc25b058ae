"""`tlcl predict RUN_DIR IMAGES...`: classify your own images with the model of a finished run.

Prints a table: file, predicted class, confidence, and the next best class with its probability; with --csv the
probability of each class is in a file instead. Where the run has a temperature (calibration.json, fitted on its
held-out images), the probabilities are calibrated by it. The model is the run's chosen checkpoint; a continual run
answers by its method's own rule, with all classes competing.

With --coverage=0.9 each image has a set of classes too, by split conformal prediction: over images like those that
the run held out, at least 90 % of the sets hold the true class, on average over all of them, not for each class by
itself. A set of none or of several classes means "not sure". Where the held-out predictions are those of
cross-validation this holds approximately, as the head that answers was fitted on all images.
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
    parser.add_argument(
        "--csv", type=Path, metavar="FILE",
        help="write file, prediction, confidence and the (calibrated) probability of each class here",
    )  # fmt: skip
    parser.add_argument(
        "--coverage", type=float, metavar="SHARE",
        help="one more column, `set`: classes that hold the true one in at least this share of images, such as 0.9",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at once (default 256)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable files out and name them")
    options = parser.parse_args()
    if options.batch_size < 1:
        raise UserError(f"--batch-size={options.batch_size} must be at least 1")
    from tlcl.jobs.finished import classify
    from tlcl.tracking.latest import finished_directory

    found = classify(
        finished_directory(options.run_dir),
        options.images,
        batch_size=options.batch_size,
        skip_bad=options.skip_bad,
        progress=sys.stderr.isatty(),
        coverage=options.coverage,
    )
    if options.csv is None:
        print(found.table(), end="")
        return
    try:
        atomic_write_text(options.csv, found.csv())
    except OSError as error:
        raise UserError(f"--csv={options.csv} cannot be written: {error.strerror or error}") from None
    print(f"{len(found.files)} predictions in {options.csv}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
