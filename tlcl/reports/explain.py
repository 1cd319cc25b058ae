"""Pictures and page of `tlcl explain`."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from tlcl.reports.page import base_context, render_page

OPACITY = 0.75  # of the colour where the evidence is strongest
SMALL = 64  # pixels a side up to which a picture is embedded as it is


def overlay(picture: Tensor, heat: Tensor) -> np.ndarray:
    """`heat`, enlarged, over `picture`: the more of it, the brighter and the less transparent.

    Args:
        picture: uint8 (3, H, W).
        heat: float (h, w), at least 0, on a scale up to its maximum; all 0 leaves the picture as it is.

    Returns:
        uint8 (H, W, 3).
    """
    scaled = heat / heat.max() if heat.max() > 0 else heat
    size = tuple(picture.shape[1:])
    large = torch.nn.functional.interpolate(scaled[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    share = large.numpy()[:, :, None]
    colours = colormaps["inferno"](share[:, :, 0])[:, :, :3] * 255
    mixed = (1 - OPACITY * share) * picture.permute(1, 2, 0).numpy() + OPACITY * share * colours
    return mixed.round().clip(0, 255).astype(np.uint8)


def data_uri(pixels: np.ndarray) -> str:
    """A picture uint8 (H, W, 1 or 3) as a `data:` address: without loss when it is small, else as a JPEG."""
    image, file = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), BytesIO()
    kind = "png" if max(image.size) <= SMALL else "jpeg"
    image.save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class ClassMap:
    """`picture` is its address, `empty` whether nothing in the image speaks for the class."""

    label: str
    probability: float
    picture: str
    empty: bool


@dataclass(frozen=True)
class Alike:
    """A training image for the page; `other` when its class is another than the predicted one."""

    label: str
    name: str
    distance: float
    picture: str
    other: bool


@dataclass(frozen=True)
class Explained:
    """One image of the page."""

    file: str
    picture: str
    prediction: str
    probability: float
    maps: list[ClassMap]
    alike: list[Alike]


def write_explain_page(out: Path, run_dir: Path, shown: list[Explained], about: dict[str, Any]) -> Path:
    """Write `explain.html` into `out`.

    Args:
        about: `images` (how many there are), `block`, `places` (of a map, as text) and `no_neighbours` (why there
            are none, or empty).
    """
    context = {**base_context(run_dir, []), "shown": shown, **about}
    return render_page(out, "explain.html.j2", context, "explain.html")
