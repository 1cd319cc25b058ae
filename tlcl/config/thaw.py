"""Which blocks train in which epoch, and how fast: pure functions, so a resumed run needs no memory of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlcl.errors import UserError
from tlcl.system.text import shown

BLOCKS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


@dataclass(frozen=True)
class ThawSchedule:
    """Milestones (epoch -> blocks that thaw at its start); blocks thaw from the end of the network on.

    Raises:
        UserError: an epoch that is negative or not whole, an unknown block, a block thawed twice, or a block
            that would thaw before one nearer to the head.
    """

    milestones: Mapping[int, Sequence[str]]
    order: tuple[str, ...] = BLOCKS

    def __post_init__(self) -> None:
        thawed: list[str] = []
        for epoch in sorted(self.milestones):
            if epoch < 0:
                raise UserError(f"thaw.{epoch} is a negative epoch; epochs count from 0")
            for block in self.milestones[epoch]:
                if block not in self.order:
                    raise UserError(
                        f"thaw.{epoch} names the unknown block {shown(block)}; "
                        f"the blocks are {', '.join(self.order)}"
                    )
                if block in thawed:
                    raise UserError(f"thaw.{epoch} thaws {block} a second time; name each block once")
                thawed.append(block)
            # From the end on: what is thawed so far must be the last blocks, without a gap.
            expected = set(self.order[len(self.order) - len(thawed) :])
            if set(thawed) != expected:
                early = next(block for block in thawed if block not in expected)
                later = next(block for block in reversed(self.order) if block not in thawed)
                raise UserError(
                    f"thaw.{epoch} thaws {early} while {later}, nearer to the output, is still frozen; "
                    f"blocks thaw from the end on: {', '.join(reversed(self.order))}"
                )
        if not self.trainable(0):
            raise UserError("thaw.0 must thaw the head, e.g. thaw.0=[head]; the new head has to learn first")

    def trainable(self, epoch: int) -> frozenset[str]:
        """The blocks that train in `epoch` (counted from 0)."""
        return frozenset(block for start, blocks in self.milestones.items() if start <= epoch for block in blocks)

    @classmethod
    def from_depth(cls, depth: int, order: tuple[str, ...] = BLOCKS) -> "ThawSchedule":
        """The head and the last `depth` backbone blocks, from the start; 0 = head only.

        Raises:
            UserError: `depth` outside 0..number of backbone blocks.
        """
        most = len(order) - 1
        if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= most:
            raise UserError(
                f"thaw.depth={shown(depth)} must be a whole number from 0 (head only) to {most} (everything)"
            )
        return cls({0: order[most - depth :]}, order)

    @classmethod
    def from_config(
        cls, thaw: Mapping[str, Any], epochs: int, order: tuple[str, ...] = BLOCKS
    ) -> "ThawSchedule":
        """From the `thaw` group: `depth` when it is given, else epoch -> blocks (null drops a milestone).

        Args:
            thaw: with `of`, the milestones are those of a run of so many epochs.
            epochs: of the run.

        Raises:
            UserError: as for the schedule itself, and for keys that are neither `depth`, `of` nor an epoch.
        """
        milestones: dict[int, list[str]] = {}
        for key, blocks in thaw.items():
            if key in ("depth", "of"):
                continue
            try:
                epoch = int(key)
                if str(epoch) != str(key):  # "05" beside "5" would name one epoch twice
                    raise ValueError
            except ValueError:
                raise UserError(f"thaw.{key[:80]} is neither 'depth', 'of' nor an epoch such as thaw.15") from None
            if blocks is None:
                continue
            if not isinstance(blocks, list) or not all(isinstance(block, str) for block in blocks):
                raise UserError(f"thaw.{key}={shown(blocks)} must be a list of blocks, e.g. [layer4]")
            milestones[epoch] = blocks
        of = thaw.get("of")
        if of is not None and (isinstance(of, bool) or not isinstance(of, int) or of < 1):
            raise UserError(f"thaw.of={shown(of)} must be a number of epochs, at least 1, or null")
        if thaw.get("depth") is not None:
            return cls.from_depth(thaw["depth"], order)
        written = cls(milestones, order)
        return written if of is None else written.scaled(of, epochs)

    def scaled(self, of: int, epochs: int) -> "ThawSchedule":
        """The milestones of a run of `of` epochs at the same shares of one of `epochs`, all within it.

        Raises:
            UserError: a milestone comes after them.
        """
        late = [epoch for epoch in sorted(self.milestones) if epoch >= of]
        if late:
            raise UserError(f"thaw.{late[0]} comes after the last of the {of} epochs that thaw.of counts in")
        scaled: dict[int, list[str]] = {}
        for epoch in sorted(self.milestones):
            # Half up, as round() would go to the even neighbour.
            place = min((2 * epoch * epochs + of) // (2 * of), epochs - 1)
            scaled.setdefault(place, []).extend(self.milestones[epoch])
        return ThawSchedule(scaled, self.order)
