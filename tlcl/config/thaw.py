"""Which blocks train in which epoch: pure functions, so a resumed run needs no memory of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlcl.config.stages import named_blocks
from tlcl.errors import UserError
from tlcl.system.figures import counted
from tlcl.system.text import shown

BLOCKS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
THAW_KEYS = ("depth", "of", "blocks", "only", "patience")  # what is no epoch
Milestone = int | str | list[str]  # a depth, a block as deep as which to train, or the blocks that thaw
ONLY = ("all", "norms", "biases", "norms_and_biases")


@dataclass(frozen=True)
class ThawSchedule:
    """Milestones (epoch -> blocks that thaw at its start); blocks thaw from the end of the network on.

    Args:
        from_end: without, the blocks are those of `thaw.blocks`, any set of them.
        only: which parameters of the trained backbone blocks train, one of `ONLY`; those of the head all do.
        patience: epochs without a better validation figure after which the next block thaws, in place of milestones
            after the first; the epochs then depend on the training.
        deepest: how many backbone blocks so thaw at most.

    Raises:
        UserError: an epoch that is negative or not whole, an unknown block, a block thawed twice, or a block
            that would thaw before one nearer to the head.
    """

    milestones: Mapping[int, Sequence[str]]
    order: tuple[str, ...] = BLOCKS
    from_end: bool = True
    only: str = "all"
    patience: int | None = None
    deepest: int = 0

    def __post_init__(self) -> None:
        thawed: list[str] = []
        for epoch in sorted(self.milestones):
            key = f"thaw.{epoch}" if self.from_end else "thaw.blocks"
            if epoch < 0:
                raise UserError(f"thaw.{epoch} is a negative epoch; epochs count from 0")
            for block in self.milestones[epoch]:
                if block not in self.order:
                    named_blocks(key, block, self.order)
                if block in thawed:
                    raise UserError(f"{key} thaws {block} a second time; name each block once")
                thawed.append(block)
            if self.from_end:
                self._check_end(epoch, thawed)
        if not self.trainable(0):
            raise UserError(
                "thaw.0 must thaw the head, e.g. thaw.0=0; the new head has to learn first"
                if self.from_end
                else "thaw.blocks=[] trains nothing; name at least one block, e.g. thaw.blocks=[head]"
            )

    def _check_end(self, epoch: int, thawed: list[str]) -> None:
        """That what is thawed so far are the last blocks, without a gap."""
        expected = set(self.order[len(self.order) - len(thawed) :])
        if set(thawed) == expected:
            return
        early = next(block for block in thawed if block not in expected)
        later = next(block for block in reversed(self.order) if block not in thawed)
        raise UserError(
            f"thaw.{epoch} thaws {early} while {later}, nearer to the output, is still frozen; "
            f"blocks thaw from the end on: {', '.join(reversed(self.order))} (thaw.blocks takes any set of them)"
        )

    def trainable(self, epoch: int) -> frozenset[str]:
        """The blocks that train in `epoch` (counted from 0); with a patience, all that may train in it."""
        if self.patience is not None:
            # The first epoch is the best so far, so that at the earliest `patience` later ones are not.
            thawed = max(0, epoch - 1) // self.patience
            return self.at(min(self.shallowest + thawed, self.deepest))
        return frozenset(block for start, blocks in self.milestones.items() if start <= epoch for block in blocks)

    @property
    def shallowest(self) -> int:
        """How many backbone blocks train in the first epoch, where blocks thaw from the end on."""
        return len(self.milestones[0]) - 1

    def at(self, depth: int) -> frozenset[str]:
        """The head and the last `depth` backbone blocks."""
        return frozenset(self.order[len(self.order) - 1 - depth :])

    @classmethod
    def from_depth(cls, depth: int | str, order: tuple[str, ...] = BLOCKS) -> "ThawSchedule":
        """The head and the last `depth` backbone blocks, from the start; 0 = head only.

        Args:
            depth: or `all`, or the name of the first block that trains.

        Raises:
            UserError: `depth` outside 0..number of backbone blocks, or no block.
        """
        return cls({0: order[len(order) - 1 - depth_of("thaw.depth", depth, order) :]}, order)

    @classmethod
    def from_config(
        cls, thaw: Mapping[str, Any], epochs: int, order: tuple[str, ...] = BLOCKS
    ) -> "ThawSchedule":
        """From the `thaw` group: `depth` or `blocks` if given, else epoch -> depth (null drops a milestone).

        Args:
            thaw: a milestone is a depth, a block's name, or a list of the blocks that thaw then; with `of`, the
                milestones are those of a run of so many epochs.
            epochs: of the run.

        Raises:
            UserError: as for the schedule itself, and for keys that are neither in `THAW_KEYS` nor an epoch.
        """
        written = written_milestones(thaw)
        of = whole("thaw.of", thaw.get("of"), "a number of epochs")
        depth, blocks, only = thaw.get("depth"), thaw.get("blocks"), thaw.get("only", "all")
        if only not in ONLY:
            raise UserError(f"thaw.only={shown(only)} is not one of {', '.join(ONLY)}")
        if depth is not None and blocks is not None:
            raise UserError(
                f"thaw.depth={shown(depth)} and thaw.blocks={shown(blocks)} both say what trains; set one of them "
                "to null"
            )
        if blocks is not None:
            if not isinstance(blocks, list) or not all(isinstance(block, str) for block in blocks):
                raise UserError(f"thaw.blocks={shown(blocks)} must be a list of blocks, e.g. [{order[1]},head]")
            named = [one for block in blocks for one in named_blocks("thaw.blocks", block, order)]
            if thaw.get("patience") is not None:
                raise UserError("thaw.blocks names what trains all the time, so thaw.patience has nothing to thaw")
            return cls({0: named}, order, from_end=False, only=only)
        if thaw.get("patience") is not None:
            return cls.by_patience(thaw, written, order, only)
        if depth is not None:
            return replace(cls.from_depth(depth, order), only=only)
        schedule = cls(newly_thawed(written, order), order, only=only)
        return schedule if of is None else schedule.scaled(of, epochs)

    @classmethod
    def by_patience(
        cls, thaw: Mapping[str, Any], written: Mapping[int, Milestone], order: tuple[str, ...], only: str
    ) -> "ThawSchedule":
        """Blocks that thaw one by one: from the first milestone (the head alone by default) to `thaw.depth` or all.

        Gradual unfreezing by plateaus, as in the library finetuning-scheduler.

        Args:
            thaw: with a `patience`.
            written: its milestones.

        Raises:
            UserError: a milestone after the first, `of`, or nothing that could thaw.
        """
        patience = whole("thaw.patience", thaw["patience"], "a number of epochs")
        useless = [f"thaw.{epoch}" for epoch in sorted(written) if epoch]
        useless += ["thaw.of"] if thaw.get("of") is not None else []
        if useless:
            raise UserError(
                f"{useless[0]} says when blocks thaw, and thaw.patience={patience} leaves that to the validation "
                "figures; leave one of them out, e.g. thaw=by_events"
            )
        first = newly_thawed({0: written.get(0, 0)}, order)
        depth = thaw.get("depth")
        deepest = depth_of("thaw.depth", "all" if depth is None else depth, order)
        if deepest < len(first[0]) and depth is None:
            raise UserError(
                f"thaw.0={shown(written[0])} trains everything from the first epoch on, so "
                f"thaw.patience={patience} has nothing to thaw; leave one of them out"
            )
        if deepest < len(first[0]):
            raise UserError(
                f"thaw.depth={shown(depth)} is what trains from the first epoch on, so thaw.patience={patience} "
                "has nothing to thaw; set a larger thaw.depth, or all"
            )
        return cls(first, order, only=only, patience=patience, deepest=deepest)

    def scaled(self, of: int, epochs: int) -> "ThawSchedule":
        """The milestones of a run of `of` epochs at the same shares of one of `epochs`, all within it.

        Raises:
            UserError: a milestone comes after them.
        """
        late = [epoch for epoch in sorted(self.milestones) if epoch >= of]
        if late:
            within = counted(of, "epoch")
            raise UserError(f"thaw.{late[0]} comes after the last of the {within} that thaw.of counts in")
        scaled: dict[int, list[str]] = {}
        for epoch in sorted(self.milestones):
            # Half up, as round() would go to the even neighbour.
            place = min((2 * epoch * epochs + of) // (2 * of), epochs - 1)
            scaled.setdefault(place, []).extend(self.milestones[epoch])
        return replace(self, milestones=scaled)


def written_milestones(thaw: Mapping[str, Any]) -> dict[int, Milestone]:
    """Epoch -> what is written there, without those that are null.

    Raises:
        UserError: a key that is neither in `THAW_KEYS` nor an epoch, or a value that says no depth and no blocks.
    """
    written: dict[int, Milestone] = {}
    for key, value in thaw.items():
        if key in THAW_KEYS:
            continue
        try:
            epoch = int(key)
            if str(epoch) != str(key):  # "05" beside "5" would name one epoch twice
                raise ValueError
        except ValueError:
            raise UserError(
                f"thaw.{key[:80]} is neither one of {', '.join(THAW_KEYS)} nor an epoch such as thaw.15"
            ) from None
        if value is None:
            continue
        listed = isinstance(value, list) and all(isinstance(block, str) for block in value)
        if not listed and (isinstance(value, bool) or not isinstance(value, int | str)):
            raise UserError(
                f"thaw.{key}={shown(value)} must be a depth, e.g. 1, a block's name, or a list of blocks, "
                "e.g. [layer4]"
            )
        written[epoch] = value
    return written


def newly_thawed(written: Mapping[int, Milestone], order: tuple[str, ...]) -> dict[int, list[str]]:
    """Epoch -> the blocks that thaw at its start, of milestones as they may be written.

    Raises:
        UserError: an unknown block, a depth out of range, or one at which nothing thaws.
    """
    milestones: dict[int, list[str]] = {}
    for epoch in sorted(written):
        value, key = written[epoch], f"thaw.{epoch}"
        if isinstance(value, list):
            milestones[epoch] = [one for block in value for one in named_blocks(key, block, order)]
            continue
        known = {block for blocks in milestones.values() for block in blocks}
        deep = order[len(order) - 1 - depth_of(key, value, order) :]
        milestones[epoch] = [block for block in deep if block not in known]
        if not milestones[epoch]:
            raise UserError(f"{key}={shown(value)} thaws nothing that does not train already; leave it out")
    return milestones


def depth_of(key: str, depth: object, order: Sequence[str]) -> int:
    """How many backbone blocks train besides the head: as it says, `all`, or from a named block to the end.

    Raises:
        UserError: none of these; it names `key`.
    """
    most = len(order) - 1
    if depth == "all" or (depth == len(BLOCKS) - 1 > most and not isinstance(depth, bool)):
        return most  # 5 was everything when every network had six blocks
    if isinstance(depth, str):
        return most - order.index(named_blocks(f"{key}={shown(depth)}", depth, order)[0])
    if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= most:
        raise UserError(
            f"{key}={shown(depth)} must be a whole number from 0 (head only) to {most} (everything), all, or a "
            "block's name"
        )
    return depth


def whole(key: str, value: object, what: str) -> int | None:
    """A whole number of at least 1, or None.

    Raises:
        UserError: it is neither.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UserError(f"{key}={shown(value)} must be {what}, at least 1, or null")
    return value
