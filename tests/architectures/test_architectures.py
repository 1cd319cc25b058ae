"""`make architectures`: what holds of any network of timm, tried on many, with random weights."""

import copy
from functools import lru_cache

import pytest
import timm
import torch
from safetensors.torch import load, save
from torch import Tensor

from tests.architectures.networks import chosen, families, smallest_size
from tlcl.config.schema import OptimConfig
from tlcl.config.thaw import ThawSchedule
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.finetuning.thaw import modes_for, set_trainable
from tlcl.models.build import build_model
from tlcl.models.tail import Tail
from tlcl.models.timm import TimmConfig

pytestmark = pytest.mark.slow
NETWORKS = chosen()
OPTIM = OptimConfig("sgd", 0.05, 1.0, {}, 0.0, 0.0, "constant", 0)


def images(size: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=draws)


def test_there_are_enough_of_them() -> None:
    known = [family for family, archs in families().items() if set(archs) & set(NETWORKS)]
    assert len(NETWORKS) >= 150
    assert len(known) >= 40


@lru_cache(maxsize=1)
def config_of(arch: str) -> TimmConfig:
    return TimmConfig(name="timm", weights="none", input_size=smallest_size(arch), arch=arch)


@pytest.mark.parametrize("arch", NETWORKS)
def test_a_network(arch: str) -> None:
    """Parts = whole, prefix then tail = whole at every cut; a step moves what is thawed; timm loads what is saved."""
    config = config_of(arch)
    net, backbone = build_model(config, 3, seed=0)
    mine = [id(value) for name in net.names for value in net.block(name).parameters()]
    assert sorted(mine) == sorted(id(value) for value in net.parameters()), "every parameter in exactly one block"

    network = timm.create_model(arch, num_classes=3, drop_rate=0.0)
    size = config.input_size
    state = load(save({key: value.contiguous() for key, value in backbone.native_state(net).items()}))
    network.load_state_dict(state, strict=True)
    batch = images(size)
    net.eval()
    with torch.no_grad():
        whole = net(batch)
        assert torch.equal(whole, network.eval()(net.inputs(batch))), "timm's own answer"
        outputs = batch
        before = None
        for place in net.places:
            outputs = net(outputs, start=before, stop=place)
            kept = outputs.clone()
            assert torch.equal(net(outputs, start=place), whole), place
            assert torch.equal(outputs, kept), f"{place} is written into by what follows"
            if place != "head":
                tail = Tail(net, place, outputs.ndim, channels_last=False)
                assert torch.equal(tail(outputs), whole), place
                assert net.pooled(place, outputs).ndim == 2
                maps = net.maps(place, outputs)
                assert maps is None or maps.ndim == 4
            before = place

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


@pytest.mark.parametrize("arch", ["hrnet_w18_small", "resnetv2_18", "levit_128s"])
def test_what_is_not_known_is_refused(arch: str) -> None:
    with pytest.raises(UserError, match="take another network"):
        build_model(TimmConfig(name="timm", weights="none", input_size=smallest_size(arch), arch=arch), 3, seed=0)
