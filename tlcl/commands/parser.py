"""What the parsers of all commands have in common.

A command imports what needs torch once its arguments are parsed, so that --help does not wait for it.
"""

import argparse

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
