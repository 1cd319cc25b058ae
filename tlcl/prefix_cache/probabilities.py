"""Class probabilities of images by the network of a run, its frozen blocks from the cache."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from tlcl.config.schema import Config
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.versions import Versions
from tlcl.models.blocks import Blocks
from tlcl.models.inference import predict
from tlcl.models.tail import SplitNetwork, Tail, last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations


def split_at_frozen(net: Blocks, config: Config) -> SplitNetwork:
    """The network in two parts, the first one what no epoch of the config thaws."""
    place = last_frozen(net, config.schedule.trainable(config.trainer.epochs - 1))
    if place is None:
        return SplitNetwork(net, None, net)
    rest = Tail(net, place, ndim=4, channels_last=config.trainer.channels_last)
    return SplitNetwork(net, place, rest, config.trainer.of_frozen)


def probabilities_from(net: Blocks, held: Held, config: Config, device: torch.device) -> Tensor:
    """Class probabilities float32 (n, K) of images whose outputs of a place are there."""
    channels_last = config.trainer.channels_last
    return predict(
        Tail(net, held.place, ndim=held.values.ndim, channels_last=channels_last),
        held.values,
        batch_size=EVAL_BATCH,
        device=device,
        precision=config.trainer.precision,
    )


def predict_probabilities(
    network: SplitNetwork,
    images: Tensor,
    config: Config,
    device: torch.device,
    *,
    batch_size: int,
    progress: str | None,
) -> Tensor:
    """Class probabilities float32 (n, K), from the outputs of the first part in the cache's files if they go there.

    (In memory they would be used once; in files they serve every model that has the same frozen blocks.)

    Args:
        images: uint8 (n, C, H, W).
        progress: label of a progress bar, None for none.
    """
    place = network.place
    keeping = replace(Keeping.of(config), dtype="float32")  # it is the exported model that is tested
    chosen: nn.Module = network
    if keeping.mode != "off" and place is not None and keeping.where(place, 0) == "file":
        shown = progress is not None
        blocks = FrozenBlocks(network.net, images, Versions(1), device, config.trainer.of_frozen, shown)
        held = activations(blocks, [place], keeping)
        if place in held:
            images, chosen = held[place].values, network.rest
    precision = config.trainer.precision
    return predict(
        chosen, images, batch_size=batch_size, device=device, precision=precision, progress=progress
    )
