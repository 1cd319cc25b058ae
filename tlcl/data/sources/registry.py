"""From the `data` group to a decoded source."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlcl.config.schema import (
    Cifar10Config,
    DataConfig,
    DigitsConfig,
    FewLabelSplitsConfig,
    ImageFolderConfig,
    LettersConfig,
    RenderedDigitsConfig,
)
from tlcl.data.image_tensors import Source
from tlcl.data.sources.cifar10 import load_cifar10
from tlcl.data.sources.digits import load_digits
from tlcl.data.sources.image_folder import load_image_folder
from tlcl.data.sources.letters import load_letters
from tlcl.data.sources.rendered_digits import load_rendered_digits
from tlcl.data.sources.shifts import shifted
from tlcl.errors import UserError

LOADERS: dict[str, Callable[[Any], Source]] = {}  # by `data.source`, of a user's own files; see `tlcl.extend`


def load_source(config: DataConfig, cache_dir: str) -> Source:
    """Load exactly the data set that `config` names; one is never put in another's place.

    Raises:
        UserError: the data cannot be had; the sentence says what would help.
    """
    if config.source in LOADERS:
        return LOADERS[config.source](config)
    match config:
        case DigitsConfig():
            return shifted(load_digits(), config.shift)
        case LettersConfig():
            return load_letters(config.images_per_class)
        case RenderedDigitsConfig():
            return load_rendered_digits(config.images_per_class)
        case Cifar10Config():
            return load_cifar10(config)
        case ImageFolderConfig():
            return load_image_folder(config, Path(cache_dir))
        case FewLabelSplitsConfig():
            raise UserError("data=few_label_splits is many data sets; they are for +experiment=adapt_ccsa")
        case _:
            raise TypeError(f"no loader for {type(config).__name__}")
