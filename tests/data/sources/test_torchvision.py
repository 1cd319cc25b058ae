"""data=torchvision on small sets in the real layouts: labels, classes, parts, pixels, the store, downloads."""

import inspect
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.datasets import cifar, flowers102, stl10, svhn
from torchvision.datasets import utils as torchvision_utils

from tests.data.sources import torchvision_files as files
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.data.images.decode import fitted
from tlcl.data.sources import torchvision_index
from tlcl.data.sources.digits import DigitsConfig
from tlcl.data.sources.registry import load_source
from tlcl.data.sources.torchvision import TorchvisionConfig
from tlcl.data.sources.torchvision_sets import SETS
from tlcl.errors import UserError

Load = Callable[..., Source]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a set from tmp_path/root with tmp_path/cache; `counts` are what its parts are said to have."""
    for module in (cifar, flowers102, stl10, svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())

    def start(name: str, counts: dict[str, int] | None = None, **keys: Any) -> Source:
        known = SETS[name]
        if counts is not None:
            assert list(counts) == list(known.parts)
            parts = {part: one._replace(images=counts[part]) for part, one in known.parts.items()}
            monkeypatch.setitem(SETS, name, replace(known, parts=parts))
        keys = {"download": False, **keys}
        config = TorchvisionConfig("torchvision", name=name, root=str(tmp_path / "root"), **keys)
        return load_source(config, str(tmp_path / "cache"))

    return start


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def assert_pixels(data: ImageTensors, images: list[np.ndarray]) -> None:
    """In their order; (H, W) are grey."""
    expected = np.stack([image if image.ndim == 3 else image[..., None] for image in images])
    np.testing.assert_array_equal(data.images.permute(0, 2, 3, 1).numpy(), expected)


def test_cifar100(load: Load, root: Path) -> None:
    pixels = files.cifar100(root)
    source = load("CIFAR100", {"train": 6, "test": 4}, size=32)
    assert source.pool.classes == ("apple", "bear", "cup")
    assert source.pool.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.test.labels.tolist() == [0, 1, 2, 0]
    assert_pixels(source.pool, pixels["train"])
    assert_pixels(source.test, pixels["test"])
    assert source.val is None


def test_svhn_has_the_digit_0_where_its_files_have_10(load: Load, root: Path) -> None:
    pixels = files.svhn(root)
    source = load("SVHN", {"train": 10, "test": 10}, size=32)
    assert source.pool.classes == tuple("0123456789")
    assert source.pool.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert_pixels(source.pool, pixels["train"])
    assert_pixels(source.test, pixels["test"])


def test_stl10(load: Load, root: Path) -> None:
    pixels = files.stl10(root)
    source = load("STL10", {"train": 4, "test": 3}, size=96)
    assert source.pool.classes[:3] == ("airplane", "bird", "car")
    assert source.pool.labels.tolist() == [0, 1, 2, 3]
    assert_pixels(source.pool, pixels["train"])
    assert_pixels(source.test, pixels["test"])


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_the_sets_in_the_form_of_mnist(load: Load, root: Path, name: str) -> None:
    pixels = files.mnist(root, name)
    source = load(name, {"train": 20, "test": 10}, size=28, channels=1)
    first = {"MNIST": "0", "FashionMNIST": "T-shirt/top", "KMNIST": "o"}[name]
    assert source.pool.classes[0] == first
    assert len(source.pool.classes) == 10
    assert source.pool.labels.tolist() == [*range(9, -1, -1)] * 2
    assert_pixels(source.pool, pixels["train"])
    assert_pixels(source.test, pixels["test"])


def test_sets_of_digits_have_the_same_classes(load: Load, root: Path) -> None:
    """So that one adapts to the other."""
    for fabricate in (files.mnist, files.svhn, files.usps):
        fabricate(root)
    names = {
        load(name, {part: count for part, count in zip(("train", "test"), counts, strict=True)}).pool.classes
        for name, counts in (("MNIST", (20, 10)), ("SVHN", (10, 10)), ("USPS", (10, 10)))
    }
    assert names == {load_source(DigitsConfig("digits"), "unused").pool.classes}


def test_letters_of_emnist_are_upright_and_start_with_a(load: Load, root: Path) -> None:
    pixels = files.emnist_letters(root)
    source = load("EMNIST-letters", {"train": 26, "test": 26}, size=28, channels=1)
    assert "".join(source.pool.classes) == "abcdefghijklmnopqrstuvwxyz"
    assert source.pool.labels.tolist() == list(range(26))
    assert_pixels(source.pool, pixels["train"])
    assert_pixels(source.test, pixels["test"])


def test_usps(load: Load, root: Path) -> None:
    pixels = files.usps(root)
    source = load("USPS", {"train": 10, "test": 10}, size=16, channels=1)
    assert source.pool.classes == tuple("0123456789")
    assert source.test.labels.tolist() == list(range(10))
    assert_pixels(source.pool, pixels["train"])


@pytest.mark.parametrize(
    ("name", "fabricate", "parts", "classes", "labels"),
    [
        ("OxfordIIITPet", files.pets, ("trainval", "test"), ("Abyssinian", "Yorkshire Terrier"), [1, 0, 0]),
        ("Food101", files.food101, ("train", "test"), ("apple_pie", "waffles"), [1, 1, 0, 0]),
        ("DTD", files.dtd, ("train", "val", "test"), ("banded", "woven"), [1, 0]),
        ("FGVCAircraft", files.aircraft, ("train", "val", "test"), ("707-320", "F/A-18"), [1, 0]),
        ("RenderedSST2", files.rendered_sst2, ("train", "val", "test"), ("negative", "positive"), [0, 1]),
        ("Country211", files.country211, ("train", "val", "test"), ("AD", "ZW"), [0, 1]),
        ("Imagenette", files.imagenette, ("train", "val"), ("tench", "parachute"), [0, 0, 1, 1]),
        (
            "StanfordCars", files.cars, ("train", "test"), ("AM General Hummer SUV 2000", "Acura RL Sedan 2012"),
            [1, 0],
        ),
    ],
)  # fmt: skip
def test_the_sets_of_image_files(
    load: Load,
    root: Path,
    name: str,
    fabricate: Callable[[Path], dict[str, list[Path]]],
    parts: tuple[str, ...],
    classes: tuple[str, ...],
    labels: list[int],
) -> None:
    paths = fabricate(root)
    known = list(SETS[name].parts)
    source = load(name, {part: len(paths[own]) for part, own in zip(known, parts, strict=True)}, size=12)
    assert source.pool.classes == classes
    train, test = paths[parts[0]], paths[parts[-1]]
    assert source.pool.labels[: len(train)].tolist() == labels
    pool = [*train, *(paths["val"] if len(parts) == 3 else [])]
    for data, chosen in ((source.pool, pool), (source.test, test)):
        for image, path in zip(data.images, chosen, strict=True):
            photo = Image.open(path).convert("RGB")
            side, (wide, high) = min(photo.size), photo.size
            left, top = (wide - side) // 2, (high - side) // 2
            square = photo.crop((left, top, left + side, top + side)).resize((12, 12), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(square))
        assert data.sizes is not None
        assert data.sizes.tolist() == [list(Image.open(path).size) for path in chosen]
    if len(parts) == 3:
        assert source.val is not None
        assert source.val.tolist() == list(range(len(train), len(pool)))
    else:
        assert source.val is None
    assert source.test_origin == ("its own val part" if name == "Imagenette" else "")


def test_flowers_validate_on_their_own_part_unless_another_size_is_asked_for(load: Load, root: Path) -> None:
    paths = files.flowers102(root)
    counts = {"train": 2, "val": 2, "test": 2}
    source = load("Flowers102", counts, size=12)
    assert len(source.pool.classes) == 102
    assert source.pool.classes[0] == "pink primrose"
    assert source.pool.classes[101] == "blackberry lily"
    assert source.pool.labels.tolist() == [101, 0, 0, 101]
    assert source.test.labels.tolist() == [0, 101]
    assert_pixels(source.pool, [read(path) for part in ("train", "val") for path in paths[part]])
    assert_pixels(source.test, [read(path) for path in paths["test"]])
    assert source.val is not None
    assert source.val.tolist() == [2, 3]
    assert load("Flowers102", val_size=2, size=12).val is None
    two = Source(replaced(source.pool), replaced(source.test), val=source.val)  # which have an image each
    split = ImageDataModule(two, TorchvisionConfig("torchvision", name="Flowers102"), seed=5).split
    assert (split.train.tolist(), split.val.tolist()) == ([0, 1], [2, 3])


def replaced(data: ImageTensors) -> ImageTensors:
    return ImageTensors(data.images, (data.labels > 0).long(), ("first", "last"))


def test_pcam(load: Load, root: Path) -> None:
    pixels = files.pcam(root, pytest.importorskip("h5py"))
    source = load("PCAM", {"train": 3, "val": 2, "test": 2}, size=96)
    assert source.pool.classes == ("0", "1")
    assert source.pool.labels.tolist() == [0, 1, 0, 1, 0]
    assert source.test.labels.tolist() == [1, 0]
    assert_pixels(source.pool, [*pixels["train"], *pixels["valid"]])
    assert_pixels(source.test, pixels["test"])


def test_signs_have_numbers_for_names(load: Load, root: Path) -> None:
    paths = files.gtsrb(root)
    source = load("GTSRB", {"train": 6, "test": 3}, size=12)
    assert source.pool.classes == tuple(map(str, range(43)))
    assert source.pool.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.test.labels.tolist() == [2, 1, 0]
    assert_pixels(source.test, [read(path) for path in paths["test"]])


@pytest.mark.parametrize(
    ("name", "fabricate", "classes"),
    [
        ("EuroSAT", files.eurosat, ("Forest", "River")),
        ("Caltech101", files.caltech101, ("ant", "yin_yang")),
        ("SUN397", files.sun397, ("abbey", "apartment_building/outdoor")),
    ],
)
def test_a_set_without_a_test_part_has_one_held_out(
    load: Load,
    root: Path,
    tmp_path: Path,
    name: str,
    fabricate: Callable[[Path], list[Path]],
    classes: tuple[str, ...],
) -> None:
    paths = fabricate(root)
    source = load(name, {"train": len(paths)}, size=12, test_fraction=0.2)
    assert source.pool.classes == classes
    assert source.test_origin == "held out of the same set"
    half = len(paths) // 2
    assert torch.bincount(source.test.labels).tolist() == [half // 5, half // 5]
    assert torch.bincount(source.pool.labels).tolist() == [half - half // 5] * 2
    known = {read(path).tobytes(): int(index >= half) for index, path in enumerate(paths)}
    seen = []
    for data in (source.pool, source.test):
        for image, label in zip(data.images, data.labels.tolist(), strict=True):
            pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
            assert known[pixels] == label
            seen.append(pixels)
    assert sorted(seen) == sorted(known)
    again = load(name, size=12, val_size=2)
    assert again.test.names == source.test.names
    assert load(name, size=12, test_fraction=0.6).test.labels.shape == (round(0.6 * len(paths)),)


def test_the_order_of_the_disk_is_not_that_of_the_images(
    load: Load, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.sun397(root)
    names = load("SUN397", {"train": 10}, size=12).pool
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(listed(self, pattern))))
    # Another size is decoded anew.
    turned = load("SUN397", {"train": 10}, size=11).pool
    assert turned.labels.tolist() == names.labels.tolist()
    assert (turned.images[:, 0, 0, 0].diff().sign() == names.images[:, 0, 0, 0].diff().sign()).all()


def never(*_: object, **__: object) -> None:
    raise AssertionError("torchvision's data is opened")


def test_a_second_start_opens_nothing(load: Load, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files.eurosat(root)
    (root / "eurosat/EuroSAT.zip").write_bytes(b"the archive")
    first = load("EuroSAT", {"train": 20}, size=12)
    (root / "eurosat/EuroSAT.zip").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(torchvision_index, "open_parts", never)
        second = load("EuroSAT", size=12)
        for one, other in ((first.pool, second.pool), (first.test, second.test)):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)
            assert (one.names, one.classes) == (other.names, other.classes)
        with pytest.raises(AssertionError, match="is opened"):
            load("EuroSAT", size=10)
        files.photo(paths[0], 200, width=13)
        with pytest.raises(AssertionError, match="is opened"):
            load("EuroSAT", size=12)
    third = load("EuroSAT", size=12)
    changed = [
        (one != other).flatten(1).any(1).sum()
        for one, other in ((first.pool.images, third.pool.images), (first.test.images, third.test.images))
    ]
    assert sum(changed) == 1


def test_an_archive_in_the_sets_own_folder_may_be_removed(
    load: Load, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.pets(root)
    (root / "oxford-iiit-pet/images.tar.gz").write_bytes(b"the archive")
    first = load("OxfordIIITPet", {"train": 3, "test": 2}, size=12)
    (root / "oxford-iiit-pet/images.tar.gz").unlink()
    monkeypatch.setattr(torchvision_index, "open_parts", never)
    assert torch.equal(load("OxfordIIITPet", size=12).pool.images, first.pool.images)


def test_files_that_change_while_they_are_read(
    load: Load, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.dtd(root)["test"][0]

    def change(*arguments: Any) -> torch.Tensor:
        files.photo(path, 99, width=13)
        return fitted(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("tlcl.data.sources.torchvision.fitted", change)
        with pytest.raises(UserError, match="changed while it was read"):
            load("DTD", {"train": 2, "val": 2, "test": 2})
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert load("DTD", size=12).test.sizes is not None


def test_a_set_that_lacks_images_is_not_taken_for_whole(load: Load, root: Path) -> None:
    files.eurosat(root)
    with pytest.raises(UserError, match=r"its train part has 20 images, not 27,000; remove eurosat/2750"):
        load("EuroSAT")


def test_an_image_that_cannot_be_read(load: Load, root: Path) -> None:
    paths = files.pets(root)
    paths["test"][1].write_bytes(b"half of it")
    for _ in range(2):
        with pytest.raises(UserError, match=r"1 of the 5 images of .*Pet .*first test/00001 \(cannot") as caught:
            load("OxfordIIITPet", {"train": 3, "test": 2})
        assert "\n" not in str(caught.value)


def test_labels_that_are_not_those_of_the_images(
    load: Load, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.dtd(root)
    known = SETS["DTD"]
    monkeypatch.setitem(SETS, "DTD", replace(known, labels=lambda part: known.labels(part)[::-1]))
    with pytest.raises(UserError, match="gives the images of DTD other labels than it lists"):
        load("DTD", {"train": 2, "val": 2, "test": 2})


def test_a_name_that_there_is_not() -> None:
    for name, near in (("cifar100", "CIFAR100"), ("Flower102", "Flowers102"), ("EMNIST", "EMNIST-letters")):
        with pytest.raises(UserError, match=rf"data.name={name} is no data set .*{near}"):
            TorchvisionConfig("torchvision", name=name)
    with pytest.raises(UserError, match="there are Caltech101, CIFAR10,"):
        TorchvisionConfig("torchvision", name="qqqq")


@pytest.mark.parametrize("name", SETS)
def test_the_table_is_torchvisions(name: str) -> None:
    """Its readers take the arguments; archives, files and hosts are those that stand in torchvision's code."""
    known = SETS[name]
    reader = getattr(datasets, known.reader)
    for part in known.parts.values():
        inspect.signature(reader).bind("root", download=True, **part.arguments)
    code = inspect.getsource(inspect.getmodule(reader))  # type: ignore[arg-type]
    for archive in known.archives:
        assert archive.rpartition("/")[2].removesuffix(".gz") in code or archive.rpartition("/")[2] in code
    if known.archives:
        assert known.origin.partition("/")[0] in code


def test_without_a_network_one_sentence_says_what_to_put_where(
    load: Load, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", offline)
    for name, known in SETS.items():
        if known.package:
            continue
        with pytest.raises(UserError) as caught:
            load(name, download=True)
        sentence = str(caught.value)
        wanted = [f"data.name={name}", f"data.root={root}", *(known.archives or known.files), known.origin]
        if name != "StanfordCars":
            wanted.append("Name or service not known")
        for part in wanted:
            assert part in sentence, sentence
        assert "\n" not in sentence
    assert [path for path in root.rglob("*") if not path.name.endswith(".lock")] == []


def test_without_download_nothing_is_asked_for(load: Load, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", never)
    with pytest.raises(UserError, match=r"there is no food-101.*data\.download=true"):
        load("Food101", download=False)
    assert not root.exists()


def test_a_missing_package_is_named(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "PCAM", replace(SETS["PCAM"], package="no_such_package"))
    with pytest.raises(UserError, match=r"data\.name=PCAM needs no_such_package: pip install 'tlcl\[pcam\]'"):
        load("PCAM", download=True)


@pytest.fixture
def packed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """EuroSAT's archive where a user has put it, and no network."""
    files.eurosat(tmp_path / "made")
    archive = root / "eurosat/EuroSAT.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "made/eurosat/2750").rglob("*.jpg")):
            file.write(path, path.relative_to(tmp_path / "made/eurosat"))
    monkeypatch.setattr(torchvision_utils, "check_integrity", lambda path, md5=None: Path(path).is_file())
    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", never)
    return archive


def test_an_archive_that_the_user_has_put_there_is_unpacked(load: Load, root: Path, packed: Path) -> None:
    source = load("EuroSAT", {"train": 20}, download=True)
    assert len(source.pool) + len(source.test) == 20
    assert packed.is_file()
    assert sorted(path.name for path in root.iterdir()) == [".EuroSAT.lock", "eurosat"]


def test_what_is_unpacked_in_part_is_not_there(
    load: Load, root: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: zipfile.ZipFile, path: str) -> None:
        for name in self.namelist()[:3]:
            self.extract(name, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", killed)
        with pytest.raises(KeyboardInterrupt):
            load("EuroSAT", {"train": 20}, download=True)
    assert [path for path in root.rglob("*") if path.is_file()] == [root / ".EuroSAT.lock", packed]
    assert len(load("EuroSAT", {"train": 20}, download=True).test) == 4


def test_a_damaged_archive_is_not_unpacked(load: Load, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # torchvision's own check of the MD5

    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", offline)
    with pytest.raises(UserError, match=r"no route.*put eurosat/EuroSAT\.zip there"):
        load("EuroSAT", download=True)
    assert not (packed.parent / "2750").exists()


def test_an_archive_that_torchvision_has_no_md5_of_is_checked_too(
    load: Load, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.aircraft(tmp_path / "made")
    root.mkdir()
    with tarfile.open(root / "fgvc-aircraft-2013b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made/fgvc-aircraft-2013b", "fgvc-aircraft-2013b")

    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", offline)
    counts = {"train": 2, "val": 2, "test": 2}
    with pytest.raises(UserError, match="no route"):
        load("FGVCAircraft", counts, download=True)
    monkeypatch.setattr(torchvision_utils, "check_integrity", lambda path, md5=None: Path(path).is_file())
    assert len(load("FGVCAircraft", counts, download=True).pool) == 4
