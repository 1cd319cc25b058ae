"""The embedded source domain: letters rendered from the DejaVu fonts that matplotlib ships."""

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import torch
from annotated_types import Ge, Lt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.seeding import derive_seed

BITMAP = 32
CELL = 4
FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
)  # fmt: skip


def font_paths() -> list[Path]:
    """The twelve DejaVu text faces in matplotlib's data folder."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [folder / f"{face}.ttf" for face in FACES]


def render_glyph(text: str, font: Path, random: np.random.Generator) -> Tensor:
    """One character, white on black, with a small random rotation, scale, shift and pixel noise.

    It is reduced as the handwritten digits were (UCI optdigits: a 32x32 bitmap, on-pixels counted in 4x4 cells),
    so both domains share resolution and grey levels.

    Returns:
        uint8 (1, 8, 8), values 0..255 in steps of 255/16.
    """
    big = 4 * BITMAP
    canvas = Image.new("L", (big, big))
    pixels = int(big * random.uniform(0.75, 1.05))
    face = ImageFont.truetype(str(font), pixels)
    ImageDraw.Draw(canvas).text((big / 2, big / 2), text, font=face, fill=255, anchor="mm")
    shift = random.uniform(-0.06, 0.06, size=2) * big
    canvas = canvas.rotate(
        random.uniform(-15, 15), Image.Resampling.BILINEAR, translate=(round(shift[0]), round(shift[1]))
    )
    bitmap = np.asarray(canvas.resize((BITMAP, BITMAP), Image.Resampling.BOX)) > 127
    flipped = random.random(bitmap.shape) < 0.02
    cells = (bitmap ^ flipped).reshape(BITMAP // CELL, CELL, BITMAP // CELL, CELL).sum((1, 3))
    return torch.from_numpy(np.round(cells * (255 / CELL**2)).astype(np.uint8)).unsqueeze(0)


def render_set(glyphs: list[list[str]], per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """`per_class` images of each class; a class is a list of characters drawn with equal chance.

    Returns:
        images uint8 (N, 1, 8, 8), labels int64 (N,).
    """
    random, fonts = np.random.default_rng(seed), font_paths()
    images = [
        render_glyph(str(random.choice(choices)), fonts[random.integers(len(fonts))], random)
        for choices in glyphs
        for _ in range(per_class)
    ]
    return torch.stack(images), torch.arange(len(glyphs)).repeat_interleave(per_class)


@dataclass
class LettersConfig(DataConfig):
    images_per_class: Annotated[int, Ge(4), Lt(1_000_000)] = 400


def load_letters(images_per_class: int) -> Source:
    """`data=letters`: 26 classes, capital and small; a quarter as many test images again.

    The images are the same in every run: the run's seed decides only the split and the order.
    """
    glyphs = [[letter, letter.lower()] for letter in string.ascii_uppercase]
    classes = tuple(string.ascii_uppercase)
    pool = render_set(glyphs, images_per_class, derive_seed(0, "letters/pool"))
    test = render_set(glyphs, images_per_class // 4, derive_seed(0, "letters/test"))
    return Source(ImageTensors(*pool, classes), ImageTensors(*test, classes))


@register("data", "letters", LettersConfig)
def load(config: LettersConfig, cache_dir: str) -> Source:
    """As many as `config` says."""
    return load_letters(config.images_per_class)
