"""A config from inside the program."""

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.allowlist import check_composed
from tlcl.config import conf_dir
from tlcl.errors import UserError
from tlcl.parse import unknown_key

TOO_LONG = "Exceeds the limit"  # how Python's about a number of thousands of digits begins
NULL_GROUP = "Config group override must be"  # how Hydra's ValueError about GROUP=null begins


def composed_config(overrides: list[str]) -> DictConfig:
    """The config that these overrides compose, as on the command line.

    Raises:
        UserError: an override that cannot be understood, or names what is not there.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            config = compose("config", overrides)
        check_composed(config)
    except (HydraException, MissingConfigException, OmegaConfBaseException) as error:
        raise hydra_sentence(error) from None
    except ValueError as error:
        if not str(error).startswith((NULL_GROUP, TOO_LONG)):
            raise
        raise hydra_sentence(error) from None
    OmegaConf.set_struct(config, False)
    return config


def hydra_sentence(error: Exception) -> UserError:
    """Hydra's own complaints in our form."""
    text = str(error)
    for opening in ("Could not override '", "Could not append to config. An item is already at '"):
        if text.startswith(opening):
            key = text.removeprefix(opening).split("'")[0]
            if opening.startswith("Could not append"):
                return UserError(f"'{key}' is already in the config; set it without the +")
            return unknown_key(key)
    if text.startswith(NULL_GROUP):
        return UserError("a config group cannot be set to null; take it out with ~, e.g. '~method'")
    if text.startswith(TOO_LONG):
        return UserError("the command line holds a number of thousands of digits; give a smaller one")
    if isinstance(error, MissingConfigException):
        _, _, options = text.partition("Available options")
        lines = [line.strip() for line in options.splitlines()[1:]]
        known = [line for line in lines if line and not line.startswith(("Config search", "provider="))]
        hint = f"; there are {', '.join(known)}" if known else ""
        return UserError(f"there is no config '{error.missing_cfg_file}'{hint}")
    first = text.splitlines()[0] if text else type(error).__name__
    return UserError(f"the command line cannot be understood: {first}")
