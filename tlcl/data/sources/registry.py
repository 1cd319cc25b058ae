"""From the `data` group to a decoded source."""

from tlcl.config.registry import GROUPS
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import Source
from tlcl.data.sources.domains import DomainsConfig, as_folder
from tlcl.data.sources.image_folder import ImageFolderConfig, load_image_target
from tlcl.errors import reading


def load_target(config: DataConfig, cache_dir: str, classes: tuple[str, ...]) -> Source:
    """As `load_source`, of a target domain, whose images may have no labels.

    Args:
        classes: of the labelled source.
    """
    if isinstance(config, DomainsConfig):
        with reading(_named(config)):
            config = as_folder(config)
    if isinstance(config, ImageFolderConfig):
        with reading(_named(config)):
            return load_image_target(config, cache_dir, classes)
    return load_source(config, cache_dir)


def load_source(config: DataConfig, cache_dir: str) -> Source:
    """Load exactly the data set that `config` names; one is never put in another's place.

    Raises:
        UserError: the data cannot be had; the sentence says what would help.
    """
    choice = GROUPS["data"][config.source]
    if not isinstance(config, choice.keys):
        raise TypeError(f"data={config.source} is loaded by {choice.keys.__name__}, not {type(config).__name__}")
    with reading(_named(config)):
        source: Source = choice.thing(config, cache_dir)
    return source


def _named(config: DataConfig) -> str:
    train = getattr(config, "train", None)
    return f"data={config.source}" if train is None else f"data.train={train}"
