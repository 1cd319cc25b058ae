"""What a case is: a fault that is done to real runs, and a check of what it left."""

from collections.abc import Callable
from dataclasses import dataclass

from torture.workplace import Workplace


class Broken(Exception):
    """The promise was not kept; the message says what happened instead."""


class Skipped(Exception):
    """The fault cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        family: the section of the table.
        name: unique, short.
        done: what is done, in words.
        promised: what `tlcl` promises.
        check: does it in a workplace of its own; returns what happened.
            Raises Broken, Skipped.
        alone: whether it needs processes of its own: signals, limits, clocks.
        together: cases of one such name share a row of the page.
    """

    family: str
    name: str
    done: str
    promised: str
    check: Callable[[Workplace], str]
    alone: bool = True
    together: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a case; `status` is `kept`, `broken` or `skipped`."""

    case: Case
    status: str
    happened: str
    seconds: float
