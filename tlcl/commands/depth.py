"""`tlcl depth PHOTOS`: how many layers to retrain, and whether that is better than the head alone.

Depths from one block to everything, and, with 240 images or more, three surgical sets race against the head alone
on the same held-out images. It prints the gain over the head with its 95 % interval, seconds and memory of each,
and one recommendation with its command. Short for `tlcl train +experiment=how_deep data.train=PHOTOS`, of which any
key can be given; a race that was stopped goes on with `tlcl train +resume=latest`.
"""

import sys

from tlcl.commands.parser import command_parser
from tlcl.errors import run_cli
from tlcl.system.command import called


def _program() -> None:
    parser = command_parser(__doc__, "PHOTOS", "PHOTOS --test OTHER_PHOTOS depth.settings=[1,2,all] seed=1")
    parser.add_argument("photos", metavar="PHOTOS", help="folder with one folder a class, or .tar or .zip of one")
    parser.add_argument("--test", metavar="PHOTOS", help="images that are set apart; default: a fifth, held out")
    options, given = parser.parse_known_args()
    from tlcl.quoting import quoted

    paths = [quoted("data.train", options.photos)]
    if options.test is not None:
        paths.append(quoted("data.test", options.test))
    name = called()
    program = f"{name.removesuffix(' depth')} train" if name.endswith(" depth") else "tlcl train"
    sys.argv = [program, "+experiment=how_deep", *paths, *given]
    from tlcl.train import main as train

    train()


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
