"""Blocks by name: the stages of networks with many equal blocks, and what a name stands for."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tlcl.errors import UserError
from tlcl.system.text import shown

NUMBERED = re.compile(r"(.+)_\d+")
MOST = 8  # numbered blocks of one prefix that are a stage each
PARTS = 4  # stages of more of them
LISTED = 12  # blocks of a network that a sentence still lists


def stages(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The blocks in order, those of a row of more than eight numbered ones (`blocks_0`, ...) in four stages.

    The four have equally many blocks, or differ by one; any other block is a stage by itself.
    """
    found: list[tuple[str, ...]] = []
    for row in _rows(names):
        parts = PARTS if len(row) > MOST else len(row)
        bounds = [len(row) * part // parts for part in range(parts + 1)]
        found += [tuple(row[first:last]) for first, last in pairwise(bounds)]
    return found


def _rows(names: Sequence[str]) -> list[list[str]]:
    """Each block alone, those of a prefix with many together."""
    prefixes = {name: match[1] for name in names if (match := NUMBERED.fullmatch(name))}
    many = {prefix for prefix, count in Counter(prefixes.values()).items() if count > MOST}
    rows: dict[str, list[str]] = {}
    for name in names:
        prefix = prefixes.get(name)
        # A number ends no block's name but a numbered one's, so no prefix is in the way of a block.
        rows.setdefault(f"{prefix}_" if prefix in many else name, []).append(name)
    return list(rows.values())


def stage_names(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`stage1` to `stage4` -> their blocks, of a network with so many blocks that they are put into stages.

    Empty for others; a second row of many goes on with `stage5`. A block of that name is itself.
    """
    split = [stage for row in _rows(names) if len(row) > MOST for stage in stages(row)]
    named = {f"stage{number}": stage for number, stage in enumerate(split, 1)}
    return {name: stage for name, stage in named.items() if name not in names}


def named_blocks(key: str, name: str, names: Sequence[str]) -> tuple[str, ...]:
    """The blocks that `name`, a block's or a stage's, stands for.

    Args:
        key: that the sentence names.

    Raises:
        UserError: there is no such block.
    """
    if name in names:
        return (name,)
    known = stage_names(names)
    if name in known:
        return known[name]
    among = [*names, *known]
    if len(among) <= LISTED:
        raise UserError(f"{key} names the unknown block {shown(name)}; the blocks are {', '.join(among)}")
    near = difflib.get_close_matches(name, among, n=3, cutoff=0.5)
    nearest = f"; the nearest are {', '.join(near)}" if near else ""
    said = f", and {', '.join(known)} for several" if known else ""
    raise UserError(
        f"{key} names the unknown block {shown(name)}{nearest}; the network has {len(names)}, "
        f"{names[0]}, {names[1]} to {names[-2]} and {names[-1]}{said}"
    )
