"""A user's mistake is one sentence and exit code 2, never a traceback."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can put right; the message is one sentence that names the key or file and the remedy."""


class TrainingError(Exception):
    """Training cannot go on (for example a loss that is not finite); what was saved stays valid. Exit code 1."""


class Interrupted(TrainingError):
    """Stopped by the user (Ctrl-C); the message says how to go on."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(f"interrupted; go on with +resume={run_dir}")


def run_cli(program: Callable[[], T]) -> T:
    """Run `program`; turn the two error types into a sentence on stderr and an exit code (2 and 1)."""
    try:
        return program()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except TrainingError as error:
        print(f"stopped: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:  # what reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the rest would fail at the exit
        raise SystemExit(1) from None
