"""From the `data` group to a decoded source."""

from tlcl.config.registry import GROUPS
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import Source


def load_source(config: DataConfig, cache_dir: str) -> Source:
    """Load exactly the data set that `config` names; one is never put in another's place.

    Raises:
        UserError: the data cannot be had; the sentence says what would help.
    """
    source: Source = GROUPS["data"][config.source].thing(config, cache_dir)
    return source
