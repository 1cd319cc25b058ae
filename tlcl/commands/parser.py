"""What the parsers of all commands have in common.

A command imports what needs torch once its arguments are parsed, so that --help does not wait for it.
"""

import argparse
from pathlib import Path

from tlcl.system.command import called


def command_parser(about: str | None, *examples: str) -> argparse.ArgumentParser:
    """A parser whose help is a page with examples, under the name by which the command was called.

    Args:
        about: the docstring of the command's module.
        examples: arguments of the command.
    """
    label = "example: " if len(examples) == 1 else "examples: "
    lines = f"\n{' ' * len(label)}".join(f"%(prog)s {example}" for example in examples)
    return argparse.ArgumentParser(
        prog=called(),
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=label + lines,
    )


def add_plan_options(parser: argparse.ArgumentParser, out: str) -> None:
    """`--out` and `--jobs`."""
    parser.add_argument("--out", type=Path, default=Path(out), help="where the runs and the report go")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at once, which share the processors (default 1)"
    )
