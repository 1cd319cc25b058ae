"""Shifted targets: the same labels, another look, the same in every run."""

import torch

from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.sources.registry import load_source
from tlcl.data.sources.shifts import NOISE, inverted, noisy, shifted


def grey(level: int, count: int = 400) -> ImageTensors:
    images = torch.full((count, 1, 8, 8), level, dtype=torch.uint8)
    return ImageTensors(images, torch.arange(count) % 2, ("a", "b"))


def test_inverting_twice_gives_the_images_back() -> None:
    images = load_source(DigitsConfig("digits"), "unused").pool.images
    assert torch.equal(inverted(inverted(images, "pool"), "pool"), images)
    assert torch.equal(inverted(images, "pool").int() + images.int(), torch.full_like(images, 255).int())


def test_noise_has_the_stated_spread_is_cut_and_always_the_same() -> None:
    middle = grey(128).images
    noise = noisy(middle, "pool").double() - 128
    inside = noise[noise.abs() < 127]
    # a normal distribution cut at two standard deviations keeps 0.774 of its variance (of 1 at NOISE)
    assert abs(float(inside.var()) / (0.774 * NOISE**2) - 1) < 0.03
    assert abs(float(noise.mean())) < 1.5
    assert torch.equal(noisy(middle, "pool"), noisy(middle, "pool"))
    assert not torch.equal(noisy(middle, "pool"), noisy(middle, "test"))
    dark = noisy(grey(0).images, "pool")
    assert 0.45 < float((dark == 0).double().mean()) < 0.55  # not wrapped around to white


def test_a_shift_keeps_labels_and_changes_both_parts_alike() -> None:
    plain, shift = (load_source(DigitsConfig("digits", shift=name), "unused") for name in ("none", "inverted"))
    for before, after in ((plain.pool, shift.pool), (plain.test, shift.test)):
        assert torch.equal(before.labels, after.labels)
        assert torch.equal(255 - before.images, after.images)
    source = Source(grey(3), grey(4), skipped=2)
    assert shifted(source, "none") is source
    assert shifted(source, "noisy").skipped == 2
