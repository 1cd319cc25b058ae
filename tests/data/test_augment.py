"""Batched augmentation against plain slicing."""

import pytest
import torch
from torch import Tensor

from tlcl.data.augment import random_crop, random_flip

FIVE_SIGMA = 5.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct(channels: int, height: int, width: int) -> Tensor:
    """One image whose pixels are all different and none is the zero of the padding."""
    count = channels * height * width
    return torch.arange(1, count + 1, dtype=torch.uint8).reshape(channels, height, width)


def shifts(image: Tensor, padding: int) -> Tensor:
    """Every crop of the zero-padded image, one slice at a time: ((2p+1)^2, C, H, W)."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    span = range(2 * padding + 1)
    return torch.stack([padded[:, top : top + height, left : left + width] for top in span for left in span])


@pytest.mark.parametrize(("channels", "height", "width", "padding"), [(1, 5, 5, 2), (3, 4, 7, 1)])
def test_crops_are_all_shifts_equally_often(channels: int, height: int, width: int, padding: int) -> None:
    image, copies = distinct(channels, height, width), 5000
    crops = random_crop(image.expand(copies, -1, -1, -1), padding, seeded())
    assert crops.dtype == torch.uint8
    allowed = shifts(image, padding)
    matches = (crops[:, None] == allowed[None]).flatten(2).all(2)
    assert torch.equal(matches.sum(1), torch.ones(copies, dtype=torch.int64))
    expected = copies / len(allowed)
    statistic = float(((matches.sum(0) - expected) ** 2 / expected).sum())
    freedom = len(allowed) - 1
    assert statistic < freedom + FIVE_SIGMA * (2 * freedom) ** 0.5


def test_each_image_is_shifted_on_its_own_and_keeps_its_content() -> None:
    images = torch.stack([distinct(1, 6, 6) + 40 * k for k in range(4)])
    for seed in range(20):
        for image, crop in zip(images, random_crop(images, 2, seeded(seed)), strict=True):
            assert (shifts(image, 2) == crop).flatten(1).all(1).sum() == 1
    batch = random_crop(images[:1].expand(50, -1, -1, -1), 2, seeded())
    assert len(batch.unique(dim=0)) > 10


def test_no_padding_is_the_identity_and_draws_nothing() -> None:
    images, generator = distinct(3, 4, 4)[None], seeded()
    before = generator.get_state()
    assert torch.equal(random_crop(images, 0, generator), images)
    assert torch.equal(generator.get_state(), before)


def test_flip_mirrors_about_half_left_to_right() -> None:
    image, copies = distinct(3, 4, 5), 4000
    flipped = random_flip(image.expand(copies, -1, -1, -1), seeded())
    mirror = torch.tensor(image.numpy()[:, :, ::-1].copy())
    same = (flipped == image).flatten(1).all(1)
    mirrored = (flipped == mirror).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert abs(int(mirrored.sum()) - copies / 2) < FIVE_SIGMA * (copies / 4) ** 0.5


def test_both_follow_from_the_generator() -> None:
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=seeded(9))

    def augmented(seed: int) -> Tensor:
        generator = seeded(seed)
        return random_flip(random_crop(images, 2, generator), generator)

    torch.manual_seed(1)
    first = augmented(3)
    torch.manual_seed(2)
    assert torch.equal(first, augmented(3))
    assert not torch.equal(first, augmented(4))
