"""`make architectures`: what holds of any network of timm, tried on many, with random weights."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load, save
from torch import Tensor

from tlcl.config.schema import OptimConfig
from tlcl.config.thaw import ThawSchedule
from tlcl.data.versions import Versions
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.thaw import modes_for, set_trainable
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import Tail
from tlcl.models.timm import TimmConfig
from tlcl.prefix_cache.activations import FrozenBlocks, Keeping, activations

pytestmark = pytest.mark.slow
# Family, network and the size in pixels of the smallest images that it takes: up to four to eight of each family of
# timm that is known, the smallest first.
LISTED = [line.split() for line in Path(__file__).with_name("networks.txt").read_text().splitlines()]
OPTIM = OptimConfig("sgd", 0.05, 1.0, {}, 0.0, 0.0, "constant", 0)


def images(size: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=draws)


def config_of(arch: str, size: int) -> TimmConfig:
    return TimmConfig(name="timm", weights="none", input_size=size, arch=arch)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 images, which is as good as 32 and takes less time."""
    monkeypatch.setattr("tlcl.models.chunks.SIZE", 8)


def same_from_the_cache(net: Blocks, size: int) -> None:
    """At every cut, what is computed once is what the network computes of batches of other sizes, to the bit."""
    five = torch.cat([images(size), 255 - images(size), images(size)[:1].flip(-1)])
    blocks = FrozenBlocks(net, five, Versions(1), torch.device("cpu"), "32-true", progress=False)
    places = net.places[:-1]
    held = activations(blocks, places, Keeping("ram", 1 << 40, "float32", Path()))
    with torch.no_grad():
        for part in (slice(0, 2), slice(2, 5)):
            found, before = five[part], None
            for place in places:
                found, before = net(found, start=before, stop=place), place
                kept = held[place].values[part]
                assert torch.equal(found, kept), f"{place} of images {part}"


def test_there_are_enough_of_them() -> None:
    assert len(LISTED) >= 150
    assert len({family for family, _, _ in LISTED}) >= 40


@pytest.mark.parametrize(("arch", "size"), [(arch, int(size)) for _, arch, size in LISTED])
def test_a_network(arch: str, size: int) -> None:
    """Parts are the whole at every cut, a step moves what is thawed, and timm loads what is saved."""
    config = config_of(arch, size)
    net, backbone = build_model(config, 3, seed=0)
    mine = [id(value) for name in net.names for value in net.block(name).parameters()]
    assert sorted(mine) == sorted(id(value) for value in net.parameters()), "every parameter in exactly one block"
    norms = {module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)}
    assert norms == {module for name in net.names for module in net.block(name).modules() if module in norms}

    network = timm.create_model(arch, num_classes=3, drop_rate=0.0)
    kept = {key: value.contiguous() for key, value in backbone.native_state(net).items()}
    state = load(save(kept))
    network.load_state_dict(state, strict=True)
    batch = images(size)
    net.eval()
    net.chunks = False  # with batches filled up, timm's own would have to be too
    with torch.no_grad():
        whole = net(batch)
        assert torch.equal(whole, network.eval()(net.inputs(batch))), "timm's own answer"
        outputs = batch
        before = None
        for place in net.places:
            outputs = net(outputs, start=before, stop=place)
            unchanged = outputs.clone()
            assert torch.equal(net(outputs, start=place), whole), place
            assert torch.equal(outputs, unchanged), f"{place} is written into by what follows"
            if place != "head":
                tail = Tail(net, place, outputs.ndim, channels_last=False)
                assert torch.equal(tail(outputs), whole), place
                assert net.pooled(place, outputs).ndim == 2
                maps = net.maps(place, outputs)
                assert maps is None or maps.ndim == 4
            before = place
    net.chunks = True
    same_from_the_cache(net, size)

    most = len(net.names) - 1
    for depth in sorted({0, most // 2, most}):
        trained = ThawSchedule.from_depth(depth, net.names).trainable(0)
        moved = copy.deepcopy(net)
        set_trainable(moved, trained)
        modes_for(moved, trained, True)
        optimizer = build_optimizer(moved, OPTIM)
        torch.nn.functional.cross_entropy(moved(batch), torch.tensor([0, 1])).backward()
        optimizer.step()
        for name in net.names:
            pairs = zip(net.block(name).parameters(), moved.block(name).parameters(), strict=True)
            same = [torch.equal(ours, theirs) for ours, theirs in pairs]
            if name in trained:
                assert not all(same) or not same, f"{name} is thawed and did not move at depth {depth}"
            else:
                assert all(same), f"{name} is frozen and moved at depth {depth}"
                buffers = zip(net.block(name).buffers(), moved.block(name).buffers(), strict=True)
                assert all(torch.equal(*pair) for pair in buffers), f"averages of {name} moved at depth {depth}"


@pytest.mark.parametrize("arch", ["hrnet_w18_small", "resnetv2_18", "levit_128s"])
def test_what_is_not_known_is_refused(arch: str) -> None:
    with pytest.raises(UserError, match="take another"):
        build_model(config_of(arch, 224), 3, seed=0)
