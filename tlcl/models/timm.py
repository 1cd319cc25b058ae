"""Any classifier of timm: its blocks, input and weights come from the network itself."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any

from annotated_types import Ge, Lt
from omegaconf import MISSING, OmegaConf
from torch import Tensor, nn

from tlcl.config.registry import register
from tlcl.config.schema import ModelConfig
from tlcl.models.blocks import FEATURES, Backbone, Pieces
from tlcl.models.parts import Part
from tlcl.models.timm_networks import create, input_of
from tlcl.models.timm_parts import Plan, plan_of
from tlcl.models.timm_weights import PACKAGES, adapted, pretrained


@dataclass
class TimmConfig(ModelConfig):
    """Keys of `model=timm`.

    Attributes:
        arch: a network of `timm.list_models()`, as `vit_small_patch16_224`, also with the tag of its weights.
        dropout: of what the last layer takes, in training.
        drop_path: of whole residual branches, in training (Huang et al. 2016, "Deep networks with stochastic
            depth").
    """

    arch: str = MISSING
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0

    @classmethod
    def own_size(cls, values: Any) -> int | None:
        """The size of the network's pretraining, where it takes no other without its positions being resampled."""
        arch = None if OmegaConf.is_missing(values, "arch") else values.get("arch")
        known = input_of(arch) if isinstance(arch, str) else None
        return int(known.input_size[-1]) if known is not None and known.fixed_input_size else None

    @property
    def title(self) -> str:
        return self.arch

    def whole(self) -> tuple[str, ...]:
        """The names of the blocks, as the network has them."""
        return blocks_of(self.arch, self.input_size).names


@lru_cache(maxsize=64)
def blocks_of(arch: str, size: int) -> Plan:
    """The parts of a network, proved once a process.

    Raises:
        UserError: see `create` and `plan_of`.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create(arch, size, 7)
    return plan_of(network, size, arch)


def build(classes: int, config: TimmConfig) -> Pieces:
    """Parts of a new network, with a new last layer, initialised as torch does it."""
    plan = blocks_of(config.arch, config.input_size)
    network: Any = create(config.arch, config.input_size, classes, config.drop_path)
    last = network.get_submodule(plan.classifier)
    # timm begins with zeros, or with a scale of its own, in some networks: a head on frozen features would spend
    # its epochs unlearning that.
    last.reset_parameters()
    blocks: dict[str, nn.Module] = {
        name: Part(network, [step.run for step in steps], plan.owned[name], writes=name in plan.in_place)
        for name, steps in plan.steps.items()
    }
    drop = {"drop": nn.Dropout(config.dropout)} if config.dropout else {}
    blocks["head"] = nn.Sequential(OrderedDict(**drop, fc=last))
    features = Part(network, [before_last], plan.owned[FEATURES], writes=FEATURES in plan.in_place)
    return Pieces(blocks, network, features, plan.layouts, plan.prefix)


def before_last(network: Any, x: Tensor) -> Tensor:
    """What timm calls `pre_logits`: the head without its last layer."""
    found: Tensor = network.forward_head(x, pre_logits=True)
    return found


def native_key(key: str) -> str:
    """`network.blocks.0.attn.qkv.weight` -> timm's own name."""
    return key.removeprefix("network.")


@lru_cache(maxsize=64)
def _backbone(arch: str, size: int) -> Backbone:
    import timm

    known, plan = input_of(arch), blocks_of(arch, size)
    mode = "bilinear" if known is not None and known.interpolation == "bilinear" else "bicubic"
    package = PACKAGES.get(arch.partition(".")[0])  # its normalisation, installed or not
    mean, std = (known.mean, known.std) if known is not None else ((0.5,) * 3, (0.5,) * 3)
    return Backbone(
        name=arch,
        mean=package.mean if package else tuple(mean),
        std=package.std if package else tuple(std),
        build=build,
        native_key=native_key,
        imagenet=partial(pretrained, arch),
        head=f"{plan.classifier}.",
        foreign_key=package.foreign_key if package else str,
        code=f"timm {timm.__version__} {arch}",
        mode="bilinear" if package else mode,
        adapt=partial(adapted, arch, size),
    )


def backbone(config: TimmConfig) -> Backbone:
    """What `tlcl` has to know of the network that `model.arch` names."""
    return _backbone(config.arch, config.input_size)


register("model", "timm", TimmConfig)(backbone)
