"""`tlcl explain RUN_DIR IMAGES...`: where a run's network looks in images, and which training images are alike.

Writes a page, explain.html, with a heat map over each image (Grad-CAM: the places that speak for a class) and the
training images that the network finds most alike (cosine distance of pooled features); explain.csv has the same in
a table, overlays/ the pictures. A continual method is asked by its own rule.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli


def _program() -> None:
    parser = command_parser(__doc__, "runs/finetune_layerwise/DATE NEW_IMAGES/ --classes predicted runner-up")
    parser.add_argument("run_dir", type=Path, help="directory of a finished run, or latest")
    parser.add_argument("images", type=Path, nargs="+", help="image files, folders or tar files of them")
    parser.add_argument("--out", type=Path, help="folder for page, table and pictures (default RUN_DIR/explain)")
    parser.add_argument(
        "--block", help="whose outputs are mapped, as stem or layer1 (default: the last block of 3 x 3 or more)"
    )
    parser.add_argument(
        "--classes", nargs="+", default=["predicted"], metavar="CLASS",
        help="whose evidence is mapped: predicted (default), runner-up, or names of classes",
    )  # fmt: skip
    parser.add_argument("--neighbours", type=int, default=5, help="training images an image (default 5; 0: none)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable files out and name them")
    options = parser.parse_args()
    if options.neighbours < 0:
        raise UserError(f"--neighbours={options.neighbours} must be at least 0")
    from tlcl.jobs.explain import explain
    from tlcl.tracking.latest import finished_directory

    page = explain(
        finished_directory(options.run_dir),
        options.images,
        out=options.out,
        block=options.block,
        classes=options.classes,
        neighbours=options.neighbours,
        skip_bad=options.skip_bad,
    )
    print(f"explained: {page}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
