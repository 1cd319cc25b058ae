"""What a file of your own calls to add a data set, a backbone or a method; see docs/extending.md.

The config's keys are the fields of a dataclass, with their defaults; a field without one must be given. Ranges are
checked in its `__post_init__`, which raises `UserError`.
"""

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tlcl.adaptation.methods import base as adaptation
from tlcl.adaptation.methods import registry as adaptations
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.continual import MethodConfig
from tlcl.config.schema import VARIANTS, DataConfig, ModelConfig
from tlcl.continual.methods import base as continual
from tlcl.continual.methods import registry as methods
from tlcl.data.image_tensors import Source
from tlcl.data.sources.registry import LOADERS
from tlcl.errors import UserError
from tlcl.extensions import RUNNING
from tlcl.models.blocks import Backbone
from tlcl.models.build import BACKBONES


def _add(group: str, name: str, config: type, base: type) -> None:
    """The choice `group=name` with the defaults of `config`.

    Raises:
        UserError: `config` is no dataclass below `base`, or the name is taken.
    """
    if not (isinstance(config, type) and issubclass(config, base) and is_dataclass(config)):
        raise UserError(f"{group}={name}: its config must be a dataclass that derives from {base.__name__}")
    selector, variants = VARIANTS[group]
    if name in variants:
        raise UserError(f"{group}={name} is there already; give yours another name")
    variants[name] = config
    defaults: Any = OmegaConf.to_container(OmegaConf.structured(config))
    ConfigStore.instance().store(name, {**defaults, selector: name}, group=group, provider="extend")


def register_data(name: str, config: type[DataConfig], load: Callable[[Any], Source]) -> None:
    """Add `data=NAME` (and `data@source=NAME`); `load` gets an instance of `config`.

    Raises:
        UserError: see `_add`.
    """
    _add("data", name, config, DataConfig)
    LOADERS[name] = load


def register_backbone(backbone: Backbone, config: type[ModelConfig]) -> None:
    """Add `model=NAME`, NAME being the backbone's; its blocks are stem, layer1 .. layer4, head.

    `config` needs defaults for `weights` and `input_size`.

    Raises:
        UserError: see `_add`.
    """
    _add("model", backbone.name, config, ModelConfig)
    BACKBONES[backbone.name] = replace(backbone, code=RUNNING[-1] if RUNNING else "")


def register_method(name: str, config: type[MethodConfig], method: type[continual.Method]) -> None:
    """Add the continual-learning method `method=NAME`.

    Raises:
        UserError: see `_add`.
    """
    _add("method", name, config, MethodConfig)
    methods.METHODS[name] = method


def register_adaptation(name: str, config: type[AdaptationConfig], method: type[adaptation.Method]) -> None:
    """Add the method of domain adaptation `adaptation=NAME`.

    Raises:
        UserError: see `_add`.
    """
    _add("adaptation", name, config, AdaptationConfig)
    adaptations.METHODS[name] = method
