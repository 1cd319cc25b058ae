"""What a key may be stands in its field: `lr: Annotated[float, Gt(0)]`, `name: Annotated[str, OneOf("a", "b")]`.

Types are checked by OmegaConf, by which the command line is read. Pydantic in its place read 20 of 234 values
otherwise (`true` as 1, `"true"` as true), and had no bound for whole numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from tlcl.errors import UserError
from tlcl.system.text import shown

WHOLE = 2**31  # what a whole number whose field has no `Lt` must not reach


@dataclass(frozen=True, init=False)
class OneOf:
    """The values that there are."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


def _notes(hint: Any) -> Iterator[Any]:
    """What `Annotated` says, of a type or of the items in it."""
    yield from getattr(hint, "__metadata__", ())
    for inner in get_args(hint):
        yield from _notes(inner)


@cache
def limits(schema: type) -> dict[str, list[Any]]:
    """Range or choices of each field; one that gives a field of its base class another default keeps its range."""
    found: dict[str, list[Any]] = {}
    for owner in schema.__mro__:
        for name, hint in get_type_hints(owner, include_extras=True).items():
            found[name] = found.get(name) or list(_notes(hint))
    return found


def bound(value: float, among: list[Any]) -> float:
    """What a number must not reach."""
    given: list[Any] = [limit.lt for limit in among if isinstance(limit, Lt)]
    return given[0] if given else WHOLE if isinstance(value, int) else math.inf


def check_value(key: str, value: Any, among: list[Any]) -> None:
    """That a value, or every item of a list, is within the limits of its key; null is where its type has it.

    Raises:
        UserError: it is not, or it is no finite number.
    """
    for limit in among:
        if isinstance(limit, OneOf) and value is not None and value not in limit.values:
            raise UserError(f"{key}={shown(value)} is not one of {', '.join(map(str, limit.values))}")
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, int | float) and not isinstance(one, bool):
            _check_number(key, one, among)


def _check_number(key: str, value: float, among: list[Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value} must be a finite number")
    for limit in among:
        wrong = ""
        if isinstance(limit, Ge) and not value >= limit.ge:  # type: ignore[operator]
            wrong = f"at least {limit.ge:g}"
        if isinstance(limit, Gt) and not value > limit.gt:  # type: ignore[operator]
            wrong = f"greater than {limit.gt:g}"
        if isinstance(limit, Le) and not value <= limit.le:  # type: ignore[operator]
            wrong = f"at most {limit.le:g}"
        if wrong:
            raise UserError(f"{key}={shown(value)} must be {wrong}")
    if not value < (most := bound(value, among)):
        raise UserError(f"{key}={shown(value)} must be less than {most:,}")
