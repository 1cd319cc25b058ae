"""Batched augmentation against plain slicing."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional

from tlcl.data.augment import mixup_pairs, random_colour, random_crop, random_flip, random_resized_crop

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


# Random resized crops


def ramps(size: int) -> Tensor:
    """One image: its first channel rises from left to right, its second from top to bottom, by one a pixel."""
    line = torch.arange(size)
    return torch.stack([line.expand(size, size), line[:, None].expand(size, size), line.expand(size, size)]).to(
        torch.uint8
    )


def test_a_resized_crop_is_a_window_of_the_asked_area_enlarged() -> None:
    """On ramps the crop is a ramp again, whose slopes are the window's width and height."""
    size, copies = 200, 400
    crops = random_resized_crop(ramps(size).expand(copies, -1, -1, -1), 0.3, seeded()).double()
    assert crops.shape == (copies, 3, size, size)
    across, down = crops[:, 0, 0], crops[:, 1, :, 0]  # first row, first column
    widths, heights = ((line[:, -1] - line[:, 0]) / (size - 1) for line in (across, down))
    assert (crops[:, 0] - crops[:, 0, :1]).abs().max() <= 1  # the same in every row, but for rounding
    for line, share in ((across, widths), (down, heights)):
        straight = line[:, :1] + share[:, None] * torch.arange(size, dtype=torch.float64)
        assert (line - straight).abs().max() <= 2  # rounded to whole grey levels, held at the border
        assert float(share.min()) > 0
        assert float(share.max()) <= 1
    areas, ratios = widths * heights, widths / heights
    assert float(areas.min()) == pytest.approx(0.3, abs=0.03)
    assert float(areas.mean()) == pytest.approx(0.64, abs=0.03)  # 0.65, less what the border cuts
    assert float(ratios.min()) > 3 / 4 - 0.02
    assert float(ratios.max()) < 4 / 3 + 0.02
    # Everywhere in the image, to both ends of it.
    places = across[:, 0] / (size * (1 - widths).clamp_min(1e-9))
    assert float(places[widths < 0.9].min()) < 0.1
    assert float(places[widths < 0.9].max()) > 0.9


def test_a_resized_crop_keeps_one_colour_and_is_another_for_each_image() -> None:
    plain = torch.full((6, 3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(random_resized_crop(plain, 0.2, seeded()), plain)
    crops = random_resized_crop(ramps(40).expand(30, -1, -1, -1), 0.2, seeded())
    assert len(crops.unique(dim=0)) == 30
    assert torch.equal(crops, random_resized_crop(ramps(40).expand(30, -1, -1, -1), 0.2, seeded()))


# Colour


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_in_torchvision(channels: int) -> None:
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8, generator=seeded(1))
    draws = 1 + 0.4 * (2 * torch.rand(3, 5, generator=seeded()) - 1)
    changed = random_colour(images, 0.4, seeded())
    for image, mine, factors in zip(images, changed, draws.T.tolist(), strict=True):
        expected = functional.adjust_brightness(image.double() / 255, factors[0])
        expected = functional.adjust_contrast(expected, factors[1])
        if channels == 3:
            expected = functional.adjust_saturation(expected, factors[2])
        # torchvision rounds the weights of red, green and blue to four digits
        assert (mine.double() - 255 * expected).abs().max() <= 1


def test_no_colour_is_the_identity_and_draws_nothing() -> None:
    images, generator = distinct(3, 4, 4)[None], seeded()
    before = generator.get_state()
    assert random_colour(images, 0.0, generator) is images
    assert torch.equal(generator.get_state(), before)


# Mixup


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_draws_a_permutation_and_a_beta_share(alpha: float) -> None:
    generator = seeded()
    pairs = [mixup_pairs(7, alpha, generator) for _ in range(4000)]
    assert all(torch.equal(others.sort().values, torch.arange(7)) for others, _ in pairs)
    shares = torch.tensor([share for _, share in pairs], dtype=torch.float64)
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)  # of Beta(alpha, alpha)
