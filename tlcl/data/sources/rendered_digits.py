"""A labelled source domain for handwritten digits: the same ten classes rendered from fonts."""

import string

from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.letters import render_set
from tlcl.seeding import derive_seed


def load_rendered_digits(images_per_class: int) -> Source:
    """`data=rendered_digits`: 10 classes, named as those of `data=digits`; a quarter as many test images again.

    Rendered and reduced as the letters are (`tlcl.data.sources.letters.render_glyph`), and the same in every run.
    """
    glyphs, classes = [[digit] for digit in string.digits], tuple(string.digits)
    pool = render_set(glyphs, images_per_class, derive_seed(0, "rendered_digits/pool"))
    test = render_set(glyphs, images_per_class // 4, derive_seed(0, "rendered_digits/test"))
    return Source(ImageTensors(*pool, classes), ImageTensors(*test, classes))
