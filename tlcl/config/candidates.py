"""What may be retrained: how many blocks from the end on, and the surgical sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlcl.errors import UserError, printable

FIRST, MIDDLE, NORMS, EVERYTHING = "first", "middle", "norms", "all"
SURGICAL = (MIDDLE, NORMS, FIRST)
MOST_DEPTHS = 6


@dataclass(frozen=True)
class Candidate:
    """One setting of what trains.

    Attributes:
        name: a depth, or one of `SURGICAL`.
        depth: how many backbone blocks from the end on; None for the others.
        thaw: the keys of `thaw` that say so.
        words: what it is, in a table.
    """

    name: str
    depth: int | None
    thaw: dict[str, Any]
    words: str

    @property
    def overrides(self) -> tuple[str, ...]:
        """What is typed to train it, beside a thaw group without milestones."""
        keys = [key for key, value in self.thaw.items() if value not in (None, "all") or key == "depth"]
        return tuple(f"thaw.{key}={typed(self.thaw[key])}" for key in keys if self.thaw[key] is not None)


def typed(value: Any) -> str:
    """A value as a command line takes it."""
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)


def thaw_keys(**keys: Any) -> dict[str, Any]:
    """The `thaw` group with these keys, and nothing else said."""
    return {"depth": None, "of": None, "blocks": None, "only": "all", "patience": None, **keys}


def depths_of(blocks: int) -> list[int]:
    """Depths that are tried of so many backbone blocks: all, or powers of two and all of them."""
    if blocks <= MOST_DEPTHS:
        return list(range(1, blocks + 1))
    return [*(2**power for power in range(blocks.bit_length()) if 2**power < blocks), blocks]


def candidate(text: str, names: Sequence[str]) -> Candidate:
    """The setting that a text stands for.

    Args:
        text: a depth, the name of the first block that trains, `all`, or one of `SURGICAL`.
        names: of the network's blocks, the last one `head`.

    Raises:
        UserError: it is none.
    """
    backbone = list(names[:-1])
    if text == FIRST:
        return Candidate(FIRST, None, thaw_keys(blocks=[backbone[0], "head"]), f"the first block, {backbone[0]}")
    if text == MIDDLE:
        block = backbone[len(backbone) // 2]
        return Candidate(MIDDLE, None, thaw_keys(blocks=[block, "head"]), f"a middle block, {block}")
    if text == NORMS:
        return Candidate(NORMS, None, thaw_keys(depth=EVERYTHING, only="norms"), "norms everywhere")
    depth = 0
    if text == EVERYTHING:
        depth = len(backbone)
    elif text in backbone:
        depth = len(backbone) - backbone.index(text)
    elif text.isdecimal() and len(text) < 5:
        depth = int(text)
    if not 1 <= depth <= len(backbone):
        raise UserError(
            f"depth.settings has {printable(text)}; a setting is a depth from 1 to {len(backbone)}, the name of "
            f"the first block that trains, all, {', '.join(SURGICAL)}"
        )
    what = "everything" if depth == len(backbone) else f"from {backbone[-depth]} on"
    return Candidate(str(depth), depth, thaw_keys(depth=depth), what)


def candidates(settings: Sequence[Any], names: Sequence[str]) -> list[Candidate]:
    """The settings that are asked for, or the usual ones of a network with these blocks, about the cheapest first.

    Raises:
        UserError: a setting that is none, or is asked for twice.
    """
    usual = [*depths_of(len(names) - 1), *(SURGICAL if len(names) > 3 else (NORMS,))]
    found = [candidate(str(setting), names) for setting in settings or usual]
    typed_as: dict[str, list[str]] = {}
    for setting, one in zip(settings, found, strict=False):
        typed_as.setdefault(one.name, []).append(str(setting))
    for name, texts in typed_as.items():
        if len(texts) > 1:
            same = "" if set(texts) == {name} else f" ({' and '.join(texts)} are the same)"
            raise UserError(f"depth.settings has {name} twice{same}")
    return found
