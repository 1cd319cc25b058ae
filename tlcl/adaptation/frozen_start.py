"""Both domains' outputs of the blocks that nothing trains, computed once in the images' place."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlcl.adaptation.pairs import PairedDataModule
from tlcl.config.schema import Config
from tlcl.data.datamodule import Rows
from tlcl.data.versions import Versions, crops_in, warn_uncached
from tlcl.models.blocks import Blocks
from tlcl.models.tail import last_frozen
from tlcl.prefix_cache.activations import FrozenBlocks, Held, Keeping, activations


class FromPlace:
    """The network as a method of adaptation sees it when its inputs are outputs of `place`."""

    def __init__(self, net: Blocks, place: str) -> None:
        self.net, self.place = net, place

    def __call__(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        outputs: Tensor = self.net(x, start=self.place if start is None else start, stop=stop)
        return outputs

    def pooled(self, place: str, x: Tensor) -> Tensor:
        return self.net.pooled(place, x)

    def modules(self) -> Iterator[nn.Module]:
        return self.net.modules()


def serve_frozen(config: Config, net: Blocks, data: PairedDataModule, device: torch.device) -> str | None:
    """Give both domains' loaders the outputs of what stays frozen; returns whose, None where images are given.

    What the frozen blocks compute is what they would compute in training, to the bit on a CPU. Images are given
    where nothing stays frozen, where each epoch has crops of its own, or where the outputs cannot be kept.
    """
    trainable = config.schedule.trainable(config.trainer.epochs - 1)
    place = last_frozen(net, trainable)
    assert config.source is not None
    configs = (config.source, config.data)
    versions = [Versions.of(one, config.seed, cropped=crops_in(one, trainable)) for one in configs]
    if place is not None and None in versions:
        warn_uncached(("source", "data")[versions.index(None)], config.data.cache_prefix)
    if place is None or config.data.cache_prefix == "off" or None in versions:
        return None
    keeping, held = Keeping.of(config), list[Held]()
    for domain, which in zip(data.domains, versions, strict=True):
        assert which is not None
        blocks = FrozenBlocks(
            net, domain.inputs, which, device, config.trainer.of_frozen, config.trainer.progress
        )
        found = activations(blocks, [place], keeping).get(place)
        if found is None:
            return None
        held.append(found)
    for domain, one in zip(data.domains, held, strict=True):
        domain.serve(Rows(one.values), Rows(one.version(0)), one.versions)
    return place
