"""Near duplicates: correlations against numpy's, and copies of pictures among different ones."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tlcl.statistics import near_duplicates as module
from tlcl.statistics.near_duplicates import MOST_PAIRS, THRESHOLD, alike, mirrored, small_pictures


def scenes(count: int, seed: int = 0, side: int = 96) -> list[Image.Image]:
    """Random soft patches of colour in front of each other."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        small = random.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        noise = random.normal(0, 12, (side, side, 3))
        large = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)) + noise
        found.append(Image.fromarray(large.clip(0, 255).astype(np.uint8)))
    return found


def stored(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.resize((64, 64), Image.Resampling.BICUBIC))).permute(2, 0, 1)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(BytesIO(content.getvalue()))


COPIES = {
    "another quality": lambda image: jpeg(image, 30),
    "a third of the size": lambda image: jpeg(image.resize((32, 32)), 75),
    "mirrored": ImageOps.mirror,
    "brighter": lambda image: Image.eval(image, lambda value: min(255, int(1.15 * value))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind: str) -> None:
    originals = scenes(60)
    copies = [COPIES[kind](image) for image in originals[:20]]
    images = torch.stack([*map(stored, originals), *map(stored, copies)])
    pairs = alike(small_pictures(images), 60)
    assert pairs.total == pairs.across == 20
    assert {(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)} == {
        (index, 60 + index) for index in range(20)
    }
    assert float(pairs.similarity.min()) >= THRESHOLD


def test_products_are_correlations() -> None:
    images = torch.stack([stored(image) for image in scenes(4)])
    pictures = small_pictures(images)
    blocks = images.double().unflatten(3, (16, 4)).unflatten(2, (16, 4)).mean((3, 5)).flatten(1).numpy()
    assert np.allclose((pictures @ pictures.T).numpy(), np.corrcoef(blocks), atol=1e-5)
    assert torch.allclose(mirrored(pictures), small_pictures(images.flip(3)), atol=1e-6)
    assert small_pictures(torch.full((1, 3, 64, 64), 7, dtype=torch.uint8)).abs().max() == 0


def test_blocks_change_nothing_and_those_across_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    images = scenes(30)
    again = [jpeg(image, 40) for image in images[:12]]
    everything = [*images[:20], *again[:6], *images[20:], *again[6:]]  # 26 and the rest are the second part
    pictures = small_pictures(torch.stack([stored(image) for image in everything]))
    whole = alike(pictures, 26)
    assert (whole.total, whole.across) == (12, 6)
    assert bool((whole.first[:6] < 26).all() and (whole.second[:6] >= 26).all())
    assert whole.similarity[:6].tolist() == sorted(whole.similarity[:6].tolist(), reverse=True)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert [column.tolist() for column in alike(pictures, 26)[2:4]] == [column.tolist() for column in whole[2:4]]


def test_of_very_many_pairs_the_first_are_kept() -> None:
    same = small_pictures(stored(scenes(1)[0])[None].repeat(200, 1, 1, 1))
    pairs = alike(same, 150)
    assert (pairs.total, pairs.across, len(pairs.first)) == (200 * 199 // 2, 150 * 50, MOST_PAIRS)
    assert int(((pairs.first < 150) & (pairs.second >= 150)).sum()) == 150 * 50
