"""What a config may name to be run: no key of tlcl's own is instantiated, and Hydra instantiates only what is here.

Hydra makes its launcher, sweeper, callbacks and log handlers from `_target_` and `class` keys, which the command
line, a folder given by --config-dir, or somebody else's files can set. Every config that Hydra composes for
`tlcl train` is checked before Hydra uses it. Hydra itself has a list of what is forbidden; this one says what is
allowed.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType
from hydra.utils import get_object
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.errors import UserError
from tlcl.security.secrets import leaves, refuse_reads, refuse_values

OWN = ("tlcl.", "torch.", "torchvision.", "lightning.")
# Part of Hydra's own config -> what it may name; the first that fits counts.
HYDRA = {
    "hydra.callbacks": ("tlcl.sweeps.callback.", "hydra.experimental.callbacks.", "hydra_plugins."),
    "hydra.sweeper.sampler": ("optuna.samplers.",),
    "hydra": ("hydra_plugins.", "hydra._internal.core_plugins."),
}
LOGGING = ("hydra.job_logging.", "hydra.hydra_logging.")
LOG_CLASSES = {
    "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.handlers.RotatingFileHandler",
    "logging.Formatter", "colorlog.ColoredFormatter",
}  # fmt: skip
LOG_OBJECTS = ("ext://sys.stdout", "ext://sys.stderr")
NAMES_CODE = {"_target_", "custom_search_space"}  # the latter is Optuna's, instantiated as well
MAKES_GROUPS = re.compile(r"\boc\.(create|decode|dict)\b")
RERUN = "--experimental-rerun"
MADE = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")  # what Hydra instantiates


def _allowed(key: str) -> tuple[str, ...]:
    """The beginnings of names that the config's key `key` may have."""
    for part, beginnings in HYDRA.items():
        if key.startswith(f"{part}."):
            return beginnings
    return OWN


def _defined_elsewhere(name: str, beginnings: tuple[str, ...]) -> bool:
    """Whether a name such as `torch.os.system` leads out of the packages that its beginning promises."""
    try:
        found: Any = get_object(name)
    except Exception:  # Hydra says that there is no such thing
        return False
    home = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None)
    return not f"{home}.".startswith(beginnings)


def _check_target(key: str, name: str) -> None:
    beginnings = _allowed(key)
    if "${" in name:
        raise UserError(f"{key}={name} must be a plain name, not an interpolation")
    if not name.startswith(beginnings) or _defined_elsewhere(name, beginnings):
        packages = ", ".join(beginning.rstrip(".") for beginning in beginnings)
        raise UserError(f"{key}={name} is not run: here a config may only name what is in {packages}")


def _check_logging(key: str, value: Any) -> None:
    last, text = key.rpartition(".")[2], str(value)
    if last in ("class", "()") and text not in LOG_CLASSES:
        raise UserError(f"{key}={text} is not run: a log's handlers are {', '.join(sorted(LOG_CLASSES))}")
    if text.startswith(("ext://", "cfg://")) and text not in LOG_OBJECTS:
        raise UserError(f"{key}={text} is not used: a log goes to {' or '.join(LOG_OBJECTS)}, or to a file")


def _refuse_borrowed(node: DictConfig | ListConfig, key: str, names: Iterable[Any]) -> None:
    """That nothing below these names of `node` is an interpolation that stands for a whole group of keys."""
    for name in names:
        below = f"{key}.{name}"
        if OmegaConf.is_interpolation(node, name):
            raw: Any = OmegaConf.to_container(node, resolve=False)
            try:
                plain = isinstance(node[name], str | int | float | None)
            except OmegaConfBaseException:  # not yet known, such as a job's number
                plain = True
            if not plain or MAKES_GROUPS.search(raw[name]):
                raise UserError(f"{below}={raw[name]} must be written out, not taken from elsewhere")
        elif not OmegaConf.is_missing(node, name) and OmegaConf.is_config(node[name]):
            inner = node[name]
            _refuse_borrowed(inner, below, inner if isinstance(inner, DictConfig) else range(len(inner)))


def check_composed(config: DictConfig) -> None:
    """Check a composed config, with or without Hydra's own part, before anything is made from it.

    Raises:
        UserError: it names code that is not allowed to run, or reads an environment variable that looks secret.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    refuse_reads({key: value for key, value in plain.items() if key != "hydra"})
    refuse_reads({"hydra": {key: value for key, value in plain.get("hydra", {}).items() if key != "overrides"}})
    for key, value in leaves(plain):
        if not NAMES_CODE.isdisjoint(key.split(".")) and value is not None and value != MISSING:
            _check_target(key, str(value))
        elif key.startswith(LOGGING):
            _check_logging(key, value)
    if "hydra" in config:
        _refuse_borrowed(config.hydra, "hydra", [name for name in MADE if name in config.hydra])


class CheckedLoader(ConfigLoaderImpl):
    """Composes configs and checks each, those of a sweep's jobs too, in whatever process they are composed."""

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        config = super().load_configuration(*args, **kwargs)
        check_composed(config)
        return config

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name is None and not overrides:
            # What Hydra answers after a copy of all that is registered, a hundred of which --help would wait for.
            return self.repository.get_group_options(group_name, results_filter)
        return super().get_group_options(group_name, results_filter, config_name, overrides)


def guard(arguments: Sequence[str]) -> None:
    """Check a Hydra command line, and have every config that this process composes checked from now on.

    Raises:
        UserError: an argument holds a secret value, or has Hydra load a pickled job, which can run any code.
    """
    names = {argument: argument.partition("=")[0] for argument in arguments}
    refuse_values({name: argument for argument, name in names.items()})
    if any(len(name) > 2 and RERUN.startswith(name) for name in names.values()):  # argparse takes shortened names
        raise UserError(f"{RERUN} loads a pickle file, which could run any code; use +resume=RUN_DIR")
    hydra._internal.hydra.ConfigLoaderImpl = CheckedLoader  # type: ignore[misc]
