"""`tlcl distance SOURCE TARGET`: how far two domains are apart for a network, and how well it suits the target.

SOURCE and TARGET are each digits, letters or rendered_digits (embedded; their training images), or a folder with
one folder a class, or a tar file of one. The network sees up to --images images of each. Four figures:

  proxy A-distance   2 (1 - 2 e), e the error of a linear classifier that tells the domains' features apart: 0
                     alike, 2 apart (Ben-David et al. 2007, "Analysis of representations for domain adaptation")
  MMD                distance of the features' distributions, several Gaussian kernels: 0 alike, at most 1.41
                     (Gretton et al. 2012, "A kernel two-sample test"; kernels as in Long et al. 2015, "DAN")
  LEEP               mean log-likelihood of the target's labels given what the network's own classes say of them, in
                     nats: 0 best, minus the labels' entropy worst (Nguyen et al. 2020, "LEEP")
  LogME              log evidence a target image and class of a linear head on the features, in nats: larger is
                     better (You et al. 2021, "LogME")

A small distance and high scores say that little has to be retrained. LEEP and LogME compare networks on one target;
between targets they also follow the number of classes.
"""

import contextlib
import json
import sys
from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli

LARGEST = 8192  # pixels, as of data.size


def _program() -> None:
    parser = command_parser(__doc__, "rendered_digits digits", "letters MY_IMAGES/ --model imagenet")
    parser.add_argument("source", help="the domain that the network has learned, or is to learn, from")
    parser.add_argument("target", help="its class folders are the labels of LEEP and LogME")
    parser.add_argument(
        "--model", default="letters", help="letters (default) | imagenet | directory of a finished run, or latest"
    )
    parser.add_argument(
        "--block",
        default="features",
        help="whose outputs are compared: a block, as stem or layer1, or features (default)",
    )
    parser.add_argument("--images", type=int, default=1000, help="of each domain, drawn at random (default 1000)")
    parser.add_argument("--size", type=int, default=64, help="pixels to which a folder's images are resized")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn images and of the classifier's halves")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    for key, least in (("images", 2), ("size", 4), ("seed", 0)):
        if getattr(options, key) < least:
            raise UserError(f"--{key}={getattr(options, key)} must be at least {least}")
    if options.size >= LARGEST:
        raise UserError(f"--size={options.size} must be below {LARGEST:,}")
    from tlcl.jobs.distance import measure, table
    from tlcl.tracking.latest import finished_directory

    with contextlib.redirect_stdout(sys.stderr):  # a pretraining speaks of its epochs
        result = measure(
            options.source,
            options.target,
            model=str(finished_directory(Path(options.model))),
            block=options.block,
            images=options.images,
            size=options.size,
            seed=options.seed,
        )
    print(json.dumps(result, indent=2) if options.json else table(result))


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
