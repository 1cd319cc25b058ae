"""`tlcl predict RUN_DIR IMAGES...`: classify your own images with the model of a finished run.

Prints a table, or writes it with --csv: file, predicted class, confidence, and the probability of each class. The
model is the run's chosen checkpoint; a continual run answers by its method's own rule, with all classes competing.
"""

import csv
import sys
from io import StringIO
from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli
from tlcl.system.files import atomic_write_text
from tlcl.system.text import plain
from tlcl.tracking.csv_cells import to_cell


def predictions(run_dir: Path, paths: list[Path], *, batch_size: int, skip_bad: bool, progress: bool) -> str:
    """CSV text: file, prediction, confidence, and one probability column a class; names as `csv_cells` writes them.

    Raises:
        UserError: as `load_run` and `read_images`.
    """
    from tlcl.data.images.user_images import read_images
    from tlcl.jobs.finished import class_probabilities, load_run

    net, labels, config = load_run(run_dir)
    files, images = read_images(paths, labels.size, labels.channels, skip_bad=skip_bad, progress=progress)
    probabilities = class_probabilities(net, images, config, batch_size=batch_size, progress=progress)
    text, names = StringIO(), [plain(name) for name in labels.classes]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "prediction", "confidence", *(f"p({name})" for name in names)])
    for file, row in zip(files, probabilities.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        cells = to_cell(plain(file)), to_cell(names[best])
        writer.writerow([*cells, f"{row[best]:.6f}", *(f"{probability:.6f}" for probability in row)])
    return text.getvalue()


def _program() -> None:
    parser = command_parser(__doc__, "runs/finetune_layerwise/DATE NEW_IMAGES/ --csv predictions.csv")
    parser.add_argument("run_dir", type=Path, help="directory of a finished run")
    parser.add_argument("images", type=Path, nargs="+", help="image files, folders or tar files of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table here instead of printing it")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="images at once (default 256)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable files out and name them")
    options = parser.parse_args()
    if options.batch_size < 1:
        raise UserError(f"--batch-size={options.batch_size} must be at least 1")
    table = predictions(
        options.run_dir,
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
