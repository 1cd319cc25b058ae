"""The built-in data sets: sizes, disjointness, determinism, and what is said when one cannot be had."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.cifar as torchvision_cifar
from sklearn.datasets import load_digits as sklearn_digits

from tests.data.sources.conftest import CIFAR10_CLASSES, fabricate_cifar10
from tlcl.config.schema import DataConfig
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.sources.cifar10 import Cifar10Config
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.sources.letters import LettersConfig, load_letters
from tlcl.data.sources.registry import load_source
from tlcl.errors import UserError

GOLDEN_DIGITS_TEST_COUNTS = [40, 41, 39, 41, 40, 40, 40, 40, 39, 40]
GOLDEN_DIGITS_TEST_SUM = 395490846


def test_digits_are_sklearns_split_without_overlap() -> None:
    source = load_source(DigitsConfig("digits"), "unused")
    assert source.pool.images.shape == (1397, 1, 8, 8)
    assert source.test.images.shape == (400, 1, 8, 8)
    bunch = sklearn_digits()
    ours = torch.cat([source.pool.images, source.test.images]).flatten(1).double() * 16 / 255
    labels = torch.cat([source.pool.labels, source.test.labels])

    def rows(images: np.ndarray, targets: np.ndarray) -> list[tuple[int, ...]]:
        return sorted((int(label), *image.astype(int)) for image, label in zip(images, targets, strict=True))

    # The two parts together are the original, image by image: nothing lost, doubled or relabelled.
    assert rows(ours.round().numpy(), labels.numpy()) == rows(bunch.data, bunch.target)
    due = 400 * np.bincount(bunch.target) / 1797
    assert np.abs(np.bincount(source.test.labels) - due).max() < 1


def test_digits_test_images_do_not_move() -> None:
    """A golden value: published results are only comparable while these 400 images stay."""
    first, second = (load_source(DigitsConfig("digits"), "unused") for _ in range(2))
    assert torch.equal(first.test.images, second.test.images)
    assert np.bincount(first.test.labels).tolist() == GOLDEN_DIGITS_TEST_COUNTS
    assert int((first.test.images.long().flatten(1).sum(1) * torch.arange(1, 401)).sum()) == GOLDEN_DIGITS_TEST_SUM


def test_default_digits_leave_1297_to_train_on() -> None:
    source = load_source(DigitsConfig("digits"), "unused")
    for seed in (0, 1):
        split = ImageDataModule(source, DigitsConfig("digits", val_size=100), seed).split
        assert (len(split.train), len(split.val)) == (1297, 100)
        assert not set(split.train.tolist()) & set(split.val.tolist())


def test_letters_are_26_classes_and_the_same_every_time() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    source = load_source(LettersConfig("letters", images_per_class=8), "unused")
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    again = load_letters(8)
    assert source.pool.images.shape == (26 * 8, 1, 8, 8)
    assert source.test.images.shape == (26 * 2, 1, 8, 8)
    assert torch.bincount(source.pool.labels).tolist() == [8] * 26
    assert "".join(source.pool.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert torch.equal(source.pool.images, again.pool.images)
    assert torch.equal(source.test.images, again.test.images)


def test_letters_have_the_grey_levels_of_the_digits_and_show_something() -> None:
    source = load_letters(8)
    levels = (np.arange(17) * 255 / 16).round().astype(np.uint8)
    assert set(source.pool.images.unique().tolist()) <= set(levels.tolist())
    assert len(source.pool.images.flatten(1).unique(dim=0)) > 200  # 208 drawn, hardly any alike
    # Centred glyphs: the middle is brighter than the rim in the mean of every class.
    mean = source.pool.images.float().reshape(26, 8, 8, 8).mean(1)
    assert bool((mean[:, 2:6, 2:6].mean((1, 2)) > mean[:, 0].mean(1)).all())


def test_letters_of_one_class_resemble_each_other() -> None:
    """A nearest-mean classifier fitted on the pool reads the test letters far above 1/26."""
    source = load_letters(40)
    means = source.pool.images.float().flatten(1).reshape(26, 40, 64).mean(1)
    guesses = torch.cdist(source.test.images.float().flatten(1), means).argmin(1)
    assert (guesses == source.test.labels).float().mean() > 0.2


def test_cifar10_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fabricate_cifar10(tmp_path)
    monkeypatch.setattr(torchvision_cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    source = load_source(Cifar10Config("cifar10", root=str(tmp_path), download=False), "unused")
    assert source.pool.classes == tuple(CIFAR10_CLASSES)
    assert source.pool.labels.tolist() == list(range(10)) * 5
    # A row of the file is 1024 red, then green, then blue values, each row by row.
    assert torch.equal(source.pool.images, torch.from_numpy(rows[:50]).reshape(50, 3, 32, 32))
    assert torch.equal(source.test.images, torch.from_numpy(rows[50:]).reshape(10, 3, 32, 32))


def test_cifar10_with_wrong_files_is_refused(tmp_path: Path) -> None:
    fabricate_cifar10(tmp_path)
    with pytest.raises(UserError, match=r"data\.root"):
        load_source(Cifar10Config("cifar10", root=str(tmp_path), download=False), "unused")


def test_cifar10_without_a_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(UserError) as caught:
        load_source(Cifar10Config("cifar10", root=str(tmp_path), download=True), "unused")
    sentence = str(caught.value)
    for part in (f"data.root={tmp_path}", "Name or service not known", "cifar-10-python.tar.gz", "image_folder"):
        assert part in sentence
    assert "\n" not in sentence


def test_only_a_known_config_is_loaded() -> None:
    with pytest.raises(TypeError, match="DataConfig"):
        load_source(DataConfig("digits"), "unused")


IMAGES = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "classes"),
    [
        (IMAGES.float(), LABELS, ("a", "b")),
        (IMAGES[:, 0], LABELS, ("a", "b")),
        (IMAGES.expand(-1, 2, -1, -1), LABELS, ("a", "b")),
        (IMAGES, LABELS[:3], ("a", "b")),
        (IMAGES, LABELS.int(), ("a", "b")),
        (IMAGES, LABELS, ("a",)),
        (IMAGES, LABELS + 1, ("a", "b")),
        (IMAGES, LABELS - 1, ("a", "b")),
        (IMAGES[:0], LABELS[:0], ("a", "b")),
    ],
)
def test_impossible_image_tensors(images: torch.Tensor, labels: torch.Tensor, classes: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        ImageTensors(images, labels, classes)


def test_pool_and_test_must_match() -> None:
    pool = ImageTensors(IMAGES, LABELS, ("a", "b"))
    with pytest.raises(UserError, match="different classes"):
        Source(pool, ImageTensors(IMAGES, LABELS, ("a", "c")))
    with pytest.raises(UserError, match="different shapes"):
        Source(pool, ImageTensors(IMAGES[:, :, 1:], LABELS, ("a", "b")))
