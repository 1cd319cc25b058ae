"""What a file of your own calls to add a data set, a backbone or a method; see docs/extending.md.

The config's keys are the fields of a dataclass, with their defaults; a field without one must be given. A range
stands in the field (`tlcl.config.ranges`), any other check in `__post_init__`, which raises `UserError`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tlcl.adaptation.methods import base as adaptation
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.continual import MethodConfig
from tlcl.config.registry import GROUPS, register
from tlcl.config.schema import DataConfig, ModelConfig
from tlcl.continual.methods import base as continual
from tlcl.data.image_tensors import Source
from tlcl.extensions import RUNNING
from tlcl.models.blocks import Backbone


def _add(group: str, name: str, config: type, thing: Any) -> None:
    """The choice `group=name` with the defaults of `config`, which the package's own have in conf/.

    Raises:
        UserError: `config` is no dataclass of the group, or the name is taken.
    """
    register(group, name, config)(thing)
    defaults: Any = OmegaConf.to_container(OmegaConf.structured(config))
    node = {**defaults, GROUPS[group].selector: name}
    ConfigStore.instance().store(name, node, group=group, provider="extend")


def register_data(name: str, config: type[DataConfig], load: Callable[[Any], Source]) -> None:
    """Add `data=NAME` (and `data@source=NAME`); `load` gets an instance of `config`.

    Raises:
        UserError: see `_add`.
    """
    _add("data", name, config, lambda keys, cache_dir: load(keys))


def register_backbone(backbone: Backbone, config: type[ModelConfig]) -> None:
    """Add `model=NAME`, NAME being the backbone's.

    `config` needs defaults for `weights` and `input_size`. Its blocks are stem, layer1 .. layer4, head; those with
    other names, or more or fewer of them, stand in its class attribute `all_blocks`, the last of them `head`.

    Raises:
        UserError: see `_add`.
    """
    _add("model", backbone.name, config, replace(backbone, code=RUNNING[-1] if RUNNING else ""))


def register_method(name: str, config: type[MethodConfig], method: type[continual.Method]) -> None:
    """Add the continual-learning method `method=NAME`.

    Raises:
        UserError: see `_add`.
    """
    _add("method", name, config, method)


def register_adaptation(
    name: str, config: type[AdaptationConfig], method: type[adaptation.AdaptationMethod]
) -> None:
    """Add the method of domain adaptation `adaptation=NAME`.

    Raises:
        UserError: see `_add`.
    """
    _add("adaptation", name, config, method)
