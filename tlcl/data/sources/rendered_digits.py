"""A labelled source domain for handwritten digits: the same ten classes rendered from fonts."""

import string
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.letters import render_set
from tlcl.seeding import derive_seed


@dataclass
class RenderedDigitsConfig(DataConfig):
    images_per_class: Annotated[int, Ge(4), Lt(1_000_000)] = 200


def load_rendered_digits(images_per_class: int) -> Source:
    """`data=rendered_digits`: 10 classes, named as those of `data=digits`; a quarter as many test images again.

    Rendered and reduced as the letters are (`tlcl.data.sources.letters.render_glyph`), and the same in every run.
    """
    glyphs, classes = [[digit] for digit in string.digits], tuple(string.digits)
    pool = render_set(glyphs, images_per_class, derive_seed(0, "rendered_digits/pool"))
    test = render_set(glyphs, images_per_class // 4, derive_seed(0, "rendered_digits/test"))
    return Source(ImageTensors(*pool, classes), ImageTensors(*test, classes))


@register("data", "rendered_digits", RenderedDigitsConfig)
def load(config: RenderedDigitsConfig, cache_dir: str) -> Source:
    """As many as `config` says."""
    return load_rendered_digits(config.images_per_class)
