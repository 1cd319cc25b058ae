"""Which blocks the tested weights were trained in: the tested epoch may be from before some of them thawed."""

from collections.abc import Mapping, Sequence
from typing import Any


def blocks_not_in_checkpoint(summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Blocks that thawed only after the tested checkpoint's epoch: in the tested weights they are untrained."""
    epoch = summary.get("selected", {}).get("epoch")
    if epoch is None or not metrics:
        return []
    learnt = {block for line in metrics if line["epoch"] <= epoch for block in line["trainable"]}
    return [block for block in metrics[-1]["trainable"] if block not in learnt]


def thawed_blocks(summary: Mapping[str, Any]) -> list[str]:
    """Those that were thawed, whether something in them could learn or not; runs of before recorded one list."""
    blocks: list[str] = summary.get("thawed_blocks", summary["trained_blocks"])
    return blocks


def of_tested_weights(summary: dict[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary with those `trained_blocks` alone that were trained when the tested weights were kept."""
    late = blocks_not_in_checkpoint(summary, metrics)
    trained = summary.get("trained_blocks")
    if not late or trained is None:
        return summary
    return {**summary, "trained_blocks": [block for block in trained if block not in late]}
