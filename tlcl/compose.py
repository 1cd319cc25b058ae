"""A config from inside the program."""

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from tlcl.config import conf_dir


def composed_config(overrides: list[str]) -> DictConfig:
    """The config that these overrides compose, as on the command line."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose("config", overrides)
    OmegaConf.set_struct(config, False)
    return config
