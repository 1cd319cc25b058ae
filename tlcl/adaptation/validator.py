"""Which epoch's weights are tested, chosen without any target label."""

from collections.abc import Mapping
from typing import Any

from tlcl.config.schema import Config
from tlcl.models.blocks import Blocks
from tlcl.tracking.checkpoint import BEST, BestWeights, load_last, read_checkpoint
from tlcl.tracking.records import RunDirectory, read_lines
from tlcl.tracking.timings import Stopwatch


def source_entropy(metrics: Mapping[str, Any]) -> list[float]:
    """Source validation accuracy minus the target's mean prediction entropy over log K, -1 to 1; higher is better.

    A good network classifies the source and is sure of the target. The entropy is of `data.val_size` target images
    that are not trained on, the accuracy of `source.val_size` source images. It cannot tell a network that is sure
    of the right classes from one that is sure of wrong ones (Saito et al. 2021, "Tune it the right way", discuss
    entropy as a validator and when it fails).

    Args:
        metrics: of an epoch, with `val/acc` and `val/target_entropy`.
    """
    return [float(metrics["val/acc"]) - float(metrics["val/target_entropy"])]


def keepers(config: Config, directory: RunDirectory, watch: Stopwatch) -> list[BestWeights]:
    """The callbacks that keep the weights which `adaptation.validator` may choose, beside the last epoch's."""
    assert config.adaptation is not None
    if config.adaptation.validator == "last":
        return []
    return [BestWeights(directory.checkpoints, watch, source_entropy)]


def load_chosen(config: Config, directory: RunDirectory, net: Blocks) -> dict[str, Any]:
    """Load the chosen epoch's weights into `net`; return the epoch, what chose it and the label-free figures."""
    assert config.adaptation is not None
    lines = {line["epoch"]: line for line in read_lines(directory.path / "metrics.jsonl")}
    if config.adaptation.validator == "last":
        load_last(directory, net)
        epoch = max(lines)
    else:
        best = read_checkpoint(directory.checkpoints / BEST)
        net.load_state_dict(best["net"])
        epoch = int(best["epoch"])
    figures = {name: lines[epoch].get(f"val/{name}") for name in ("acc", "loss", "target_entropy")}
    return {"validator": config.adaptation.validator, "epoch": epoch, **figures}
