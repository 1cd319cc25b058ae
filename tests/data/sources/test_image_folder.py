"""A user's own images: every format, every fault named once, decoded once."""

import io
import logging
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tlcl.data.datamodule import ImageDataModule
from tlcl.data.image_tensors import Source
from tlcl.data.images.decode import BadImage, decode_image
from tlcl.data.images.files import read_files
from tlcl.data.sources import folder_images
from tlcl.data.sources.folder_images import Decoded, Decoding, load_folder
from tlcl.data.sources.image_folder import ImageFolderConfig, load_image_folder
from tlcl.errors import UserError


def noise(seed: int, width: int = 8, height: int = 8) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def two_classes(per_class: int = 3) -> dict[str, bytes]:
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(per_class)]
    return {name: encoded(noise(seed)) for seed, name in enumerate(names)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path / "images", two_classes())


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Decoded]:
    def loader(path: Path, on_bad_image: str = "error", size: int = 8, channels: int = 3) -> Decoded:
        return load_folder(path, Decoding(size, channels, on_bad_image, tmp_path / "cache"))

    return loader


Load = Callable[..., Decoded]


def source(tmp_path: Path, train: Path, test: Path | None = None, fraction: float = 0.2) -> Source:
    config = ImageFolderConfig(
        "image_folder",
        train=str(train),
        test=None if test is None else str(test),
        test_fraction=fraction,
        size=8,
        val_size=4,
    )
    return load_image_folder(config, tmp_path / "cache")


# --- decoding


def test_pixels_survive_exactly() -> None:
    picture = noise(1)
    decoded = decode_image(encoded(picture), 8, 3)
    assert decoded.dtype == torch.uint8
    assert torch.equal(decoded, torch.tensor(np.asarray(picture)).permute(2, 0, 1))


def solid(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (6, 6), colour)  # type: ignore[arg-type]


PALETTE = solid("RGB", (200, 30, 40)).quantize(4)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(solid("RGB", (10, 20, 30))), (10, 20, 30)),
        (encoded(solid("L", 77)), (77, 77, 77)),
        (encoded(solid("1", 1)), (255, 255, 255)),
        (encoded(solid("RGBA", (10, 20, 30, 0))), (255, 255, 255)),
        (encoded(solid("RGBA", (100, 0, 200, 51))), (224, 204, 244)),  # a fifth over white
        (encoded(solid("LA", (0, 51))), (204, 204, 204)),
        (encoded(solid("P", 0), transparency=0), (255, 255, 255)),
        (encoded(PALETTE), (200, 30, 40)),
        (encoded(PALETTE, "GIF"), (200, 30, 40)),
        (encoded(solid("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (encoded(Image.fromarray(np.full((6, 6), 257 * 90, dtype=np.uint16))), (90, 90, 90)),
        (encoded(Image.fromarray(np.full((6, 6), 65535, dtype=np.uint16)), "TIFF"), (255, 255, 255)),
    ],
    ids=[
        "RGB",
        "L",
        "1",
        "clear",
        "faint",
        "LA",
        "P-clear",
        "palette",
        "GIF",
        "CMYK",
        "16-bit",
        "16-bit-TIFF",
    ],
)
def test_modes(content: bytes, expected: tuple[int, int, int]) -> None:
    decoded = decode_image(content, 4, 3)
    assert decoded.shape == (3, 4, 4)
    wanted = torch.tensor(expected)[:, None, None]
    assert (decoded.int() - wanted).abs().max() <= 1


def test_grey_uses_luma_and_one_channel() -> None:
    decoded = decode_image(encoded(solid("RGB", (0, 255, 0))), 4, 1)
    assert decoded.shape == (1, 4, 4)
    assert decoded.unique().tolist() == [150]  # 0.587 * 255, ITU-R 601


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000), (5, 8), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_becomes_the_asked_one(size: tuple[int, int], channels: int) -> None:
    decoded = decode_image(encoded(solid("RGB", (50, 50, 50)).resize(size)), 16, channels)
    assert decoded.shape == (channels, 16, 16)
    assert decoded.unique().tolist() == [50]


def test_the_centre_square_is_kept() -> None:
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    assert torch.equal(decode_image(encoded(wide), 10, 3)[:, 0, 0], torch.tensor([0, 0, 255], dtype=torch.uint8))
    assert len(decode_image(encoded(wide), 10, 3).flatten(1).unique(dim=1).T) == 1


@pytest.mark.parametrize(
    ("tag", "turn"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: np.swapaxes(a, 0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(np.swapaxes(a, 0, 1), 2)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(tag: int, turn: Callable[[np.ndarray], np.ndarray]) -> None:
    picture, exif = noise(4), Image.Exif()
    exif[0x0112] = tag
    upright = turn(np.asarray(picture)).copy()
    assert torch.equal(decode_image(encoded(picture, exif=exif), 8, 3), torch.tensor(upright).permute(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files_are_bad_wherever_they_end(kind: str) -> None:
    whole = encoded(noise(2, 40, 40), kind)
    decode_image(whole, 8, 3)
    for share in (0.02, 0.3, 0.6):
        with pytest.raises(BadImage):
            decode_image(whole[: int(len(whole) * share)], 8, 3)


def test_damaged_files_give_an_image_or_bad_image() -> None:
    random = np.random.default_rng(0)
    whole = encoded(noise(2, 20, 20), "JPEG", exif=_orientation(6))
    faults = []
    for _ in range(1500):
        damaged = bytearray(whole)
        for place in random.integers(0, 200, 3):
            damaged[place] = random.integers(256)
        try:
            assert decode_image(bytes(damaged), 8, 3).shape == (3, 8, 8)
        except BadImage as error:
            faults.append(str(error))
    assert 0 < len(faults) < 1500
    assert not any("\n" in fault for fault in faults)


def test_a_damaged_exif_tag_is_not_worth_a_word(tmp_path: Path) -> None:
    """In a process of its own: tests have warning filters of theirs."""
    exif = _orientation(6)
    exif[0x013B] = "x" * 60
    content = bytearray(encoded(noise(2, 20, 20), "JPEG", exif=exif))
    start = content.index(b"Exif") + 20
    content[start : start + 14] = bytes(byte ^ 0xFF for byte in content[start : start + 14])
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.warns(UserWarning, match="larger than file"):
        decode_image(bytes(content), 8, 3)
    program = "import sys; from tlcl.data.images.decode import decode_image as decode; "
    program += "decode(open(sys.argv[1], 'rb').read(), 8, 3)"
    command = [sys.executable, "-W", "default::UserWarning", "-c", program, str(tmp_path / "x.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def _orientation(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def test_surprising_errors_of_the_decoder_are_bad_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise NotImplementedError("Unknown pixel format flags 0\nmore")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(BadImage, match=r"^Unknown pixel format flags 0$"):
        decode_image(b"", 8, 3)


def test_too_many_pixels_are_refused_below_the_limit_where_pillow_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(noise(1, 10, 15))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    decode_image(content, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 149)
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(BadImage, match="pixels"):
        decode_image(content, 8, 3)


# --- folders and tar files


def test_labels_follow_the_sorted_class_names(images: Path, load: Load) -> None:
    data = load(images).data
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = [torch.tensor(np.asarray(noise(seed))).permute(2, 0, 1) for seed in range(6)]
    assert torch.equal(data.images, torch.stack(expected))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_file_equals_its_folder_in_any_packing_order(
    images: Path, load: Load, tmp_path: Path, mode: str, prefix: str
) -> None:
    write(images, {"cat/more/deep.png": encoded(noise(9)), "dog/.hidden.png": b"litter"})
    packed = tmp_path / "images.tar"
    with tarfile.open(packed, mode) as archive:
        for path in sorted(images.rglob("*"), reverse=True):
            if path.is_file():
                archive.add(path, prefix + str(path.relative_to(images)))
    folder = load_folder(images, Decoding(8, 3, "error", tmp_path / "another"))
    tar = load(packed)
    assert torch.equal(tar.data.images, folder.data.images)
    assert torch.equal(tar.data.labels, folder.data.labels)
    assert tar.data.classes == folder.data.classes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "cache", "images", "images.tar"]


def test_hard_links_in_a_tar_file_are_images(images: Path, load: Load, tmp_path: Path) -> None:
    os.link(images / "cat/0.png", images / "dog/linked.png")
    packed = tmp_path / "images.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(images, ".")
    assert len(load(packed).data) == len(load(images).data) == 7


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_truncated_tar_file(images: Path, load: Load, tmp_path: Path, mode: str, share: float) -> None:
    packed = tmp_path / "images.tar"
    write(images, {"cat/large.png": encoded(noise(8, 200, 200))})
    with tarfile.open(packed, mode) as archive:
        archive.add(images, ".")
    packed.write_bytes(packed.read_bytes()[: int(packed.stat().st_size * share)])
    with pytest.raises(UserError, match=r"images\.tar"):
        load(packed)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_damaged_tar_file(images: Path, load: Load, tmp_path: Path, mode: str) -> None:
    packed = tmp_path / "images.tar"
    write(images, {"cat/large.png": encoded(noise(8, 300, 300))})
    with tarfile.open(packed, mode) as archive:
        archive.add(images, ".")
    content = bytearray(packed.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    packed.write_bytes(content)
    with pytest.raises(UserError, match=r"images\.tar"):
        load(packed)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_damaged_tar_file_never_loses_files_in_silence(tmp_path: Path, mode: str) -> None:
    packed, random = tmp_path / "images.tar", np.random.default_rng(0)
    contents = [b"text" * 300 + random.bytes(300) for _ in range(12)]
    with tarfile.open(packed, mode) as archive:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"cat/{number}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = packed.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] ^= int(random.integers(1, 256))
        packed.write_bytes(damaged)
        try:
            assert len(list(read_files(packed))) == 12
        except UserError:
            refused += 1
    assert refused > 5


def test_hidden_files_and_litter_are_ignored(images: Path, load: Load) -> None:
    litter = [".DS_Store", "cat/.x.png", "cat/Thumbs.db", "dog/desktop.ini", "__MACOSX/cat/0.png", ".git/HEAD"]
    write(images, dict.fromkeys(litter, b"litter"))
    loaded = load(images)
    assert len(loaded.data) == 6
    assert loaded.skipped == ()
    assert loaded.data.classes == ("cat", "dog")


FAULTS = {
    "cat/cut.jpg": encoded(noise(7, 64, 64), "JPEG")[:700],
    "cat/text.jpg": b"not a picture at all",
    "dog/empty.png": b"",
    "stray.png": encoded(noise(3)),
}


def test_all_bad_files_are_named_in_one_error(images: Path, load: Load) -> None:
    write(images, FAULTS)
    with pytest.raises(UserError) as caught:
        load(images)
    sentence = str(caught.value)
    assert all(name in sentence for name in FAULTS)
    assert sentence.startswith("4 of 10 files")
    assert "data.on_bad_image=skip" in sentence
    assert "cat/0.png" not in sentence
    assert "\n" not in sentence


def test_a_long_list_of_bad_files_is_cut_and_counted(images: Path, load: Load) -> None:
    write(images, {f"cat/bad{number:02}.png": b"" for number in range(25)})
    with pytest.raises(UserError) as caught:
        load(images)
    assert str(caught.value).count("'cat/bad") == 20
    assert "and 5 more" in str(caught.value)


def test_skip_leaves_bad_files_out_and_counts_them(
    images: Path, tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(images).data.images
    write(images, FAULTS)
    for _ in range(2):  # decoded, then from the cache
        with caplog.at_level(logging.WARNING):
            loaded = load(images, "skip")
        assert torch.equal(loaded.data.images, whole)
        assert sorted(item.split("'")[1] for item in loaded.skipped) == sorted(FAULTS)
    assert [record.message for record in caplog.records].count(f"left out 4 unreadable files of {images}") == 2
    with pytest.raises(UserError, match="4 of 10 files"):
        load(images, "error")  # a cache filled under skip hides nothing
    config = ImageFolderConfig("image_folder", train=str(images), size=8, on_bad_image="skip", test_fraction=0.5)
    assert load_image_folder(config, tmp_path / "cache").skipped == 4


def test_a_class_without_a_readable_image_names_one_of_its_own(images: Path, load: Load) -> None:
    write(images, {"cat/bad.png": b"", "emu/first.png": b"", "stray.png": b""})
    with pytest.raises(UserError, match=r"class 'emu' .*'emu/first.png'"):
        load(images, "skip")


def test_one_class_hints_at_the_folder_inside(tmp_path: Path, load: Load) -> None:
    outer = write(tmp_path / "outer", {f"inner/{name}": content for name, content in two_classes().items()})
    with pytest.raises(UserError, match=f"only 'inner'; did you mean {outer}/inner"):
        load(outer)
    assert len(load(outer / "inner").data) == 6
    packed = tmp_path / "outer.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(outer, ".")
    with pytest.raises(UserError, match="only 'inner'; pack"):
        load(packed)


def test_no_classes_and_no_path(tmp_path: Path, load: Load) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="at least two class folders"):
        load(write(tmp_path / "flat", {"a.png": encoded(noise(1))}))
    (tmp_path / "text.tar").write_text("no tar file")
    with pytest.raises(UserError, match=r"text\.tar cannot be read as a tar file") as caught:
        load(tmp_path / "text.tar")
    assert "\n" not in str(caught.value)
    assert "it is none, and no folder of images; give a folder" in str(caught.value)


def test_linked_folders_are_followed(images: Path, load: Load, tmp_path: Path) -> None:
    """A linked class, a linked folder below a class, and a link to a link give what copies would give."""
    elsewhere = write(tmp_path / "elsewhere", {f"{number}.png": encoded(noise(40 + number)) for number in range(2)})
    (tmp_path / "again").symlink_to(elsewhere)
    (images / "emu").symlink_to(tmp_path / "again")
    (images / "dog/more").symlink_to(os.path.relpath(elsewhere, images / "dog"))
    linked = load(images).data
    for place in ("emu", "dog/more"):
        (images / place).unlink()
        write(images / place, {path.name: path.read_bytes() for path in elsewhere.iterdir()})
    copied = load_folder(images, Decoding(8, 3, "error", tmp_path / "another")).data
    assert linked.classes == copied.classes == ("cat", "dog", "emu")
    assert linked.labels.tolist() == copied.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert torch.equal(linked.images, copied.images)


def names(path: Path) -> list[str]:
    return [str(name) for name, _ in read_files(path)]


def test_link_loops_are_passed_over(images: Path, load: Load) -> None:
    (images / "cat/itself").symlink_to(images / "cat")
    (images / "cat/root").symlink_to(images)
    (images / "dog/above").symlink_to(images.parent)
    (images / "loop").symlink_to(".")
    assert names(images) == sorted(two_classes())
    assert len(load(images).data) == 6


def test_a_link_that_meets_its_loop_elsewhere_is_followed_once(images: Path, tmp_path: Path) -> None:
    """Two classes that link to each other: each has the other's files, and the way ends there."""
    (images / "cat/to_dog").symlink_to(images / "dog")
    (images / "dog/to_cat").symlink_to(images / "cat")
    crossed = [f"cat/to_dog/{n}.png" for n in range(3)] + [f"dog/to_cat/{n}.png" for n in range(3)]
    assert names(images) == sorted([*two_classes(), *crossed])
    write(tmp_path, {"far/pool/emu/0.png": b"x", "far/other.png": b"x"})
    (tmp_path / "far/pool/emu/up").symlink_to(tmp_path / "far")
    (images / "emu").symlink_to(tmp_path / "far/pool/emu")
    assert [name for name in names(images) if name.startswith("emu")] == ["emu/0.png"]


def test_links_that_lead_nowhere_are_listed_as_unreadable(images: Path, load: Load) -> None:
    (images / "cat/gone.png").symlink_to("nowhere.png")
    (images / "dog/self").symlink_to(images / "dog/self")
    with pytest.raises(UserError, match=r"^2 of 8 files .*cat/gone\.png.*dog/self"):
        load(images)
    assert len(load(images, "skip").data) == 6


def test_hidden_folders_are_not_entered(images: Path, load: Load, tmp_path: Path) -> None:
    (images / "cat/.link").symlink_to(write(tmp_path / "elsewhere", {"x.png": b""}))
    assert len(load(images).data) == 6


def test_a_folder_that_cannot_be_listed_is_named(images: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if folder.endswith("dog"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"^the folder .*images/dog cannot be listed: Permission denied$"):
        load(images)


# --- cache


def explode(*_: object) -> None:
    raise AssertionError("decoded again")


def test_a_second_load_decodes_nothing(images: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(images)
    monkeypatch.setattr(folder_images, "decode_sized", explode)
    second = load(images)
    assert torch.equal(first.data.images, second.data.images)
    assert torch.equal(first.data.labels, second.data.labels)
    assert first.data.classes == second.data.classes
    for changed in ({"size": 9}, {"channels": 1}):
        with pytest.raises(AssertionError, match="decoded again"):
            load(images, **changed)


@pytest.mark.parametrize("change", ["content", "rename", "new class name", "removal", "decoder"])
def test_a_change_invalidates_the_cache(
    images: Path, load: Load, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load(images)
    first = images / "cat/0.png"
    match change:
        case "content":
            before = first.stat()
            first.write_bytes(encoded(noise(77)))
            os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "rename":
            first.rename(images / "cat/zzz.png")
        case "new class name":
            (images / "cat").rename(images / "ant")
        case "removal":
            first.unlink()
        case "decoder":
            monkeypatch.setattr(folder_images, "DECODER", "next")
    fresh = load(images).data
    names = sorted(path.relative_to(images) for path in images.rglob("*.png"))
    expected = torch.stack([decode_image((images / name).read_bytes(), 8, 3) for name in names])
    assert torch.equal(fresh.images, expected)
    assert fresh.classes == tuple(sorted({PurePosixPath(name).parts[0] for name in names}))
    assert len(list((images.parent / "cache").rglob("*.images.bin"))) == 2


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 50, None])
def test_a_damaged_cache_is_decoded_again(
    images: Path, load: Load, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    first = load(images)
    (cached,) = (images.parent / "cache").rglob("*.safetensors")
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-100] if damage is None else damage)
    again = load(images)
    assert torch.equal(first.data.images, again.data.images)
    assert "damaged" in caplog.text
    caplog.clear()
    load(images)
    assert "damaged" not in caplog.text


def test_every_image_has_the_name_of_its_file(images: Path, load: Load, tmp_path: Path) -> None:
    """Decoded and from the cache, in both parts of a split, and for names that are no UTF-8."""
    odd = b"cat/\xff\xe4.png".decode("utf-8", "surrogateescape")
    write(images, {odd: encoded(noise(50)), "dog/deep/er.png": encoded(noise(51)), "dog/bad.png": b"no image"})
    fresh, cached = (load(images, on_bad_image="skip").data for _ in range(2))
    assert fresh.names == cached.names
    assert {odd, "dog/deep/er.png"} < set(fresh.names)
    assert "dog/bad.png" not in fresh.names
    (images / "dog/bad.png").unlink()
    halves = source(tmp_path, images, fraction=0.4)
    assert {*halves.pool.names} | {*halves.test.names} == {*fresh.names}
    for part in (fresh, cached, halves.pool, halves.test):
        expected = torch.stack([decode_image((images / name).read_bytes(), 8, 3) for name in part.names])
        assert torch.equal(part.images, expected)
        assert [part.classes[label] for label in part.labels] == [name.split("/")[0] for name in part.names]
    with pytest.raises(UserError, match="8 images cannot have 7 names"):
        replace(fresh, names=fresh.names[1:])


def test_every_image_has_the_size_of_its_file(images: Path, load: Load, tmp_path: Path) -> None:
    """Upright, decoded and from the cache, and in both parts of a split."""
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    write(
        images,
        {
            "cat/wide.png": encoded(noise(60, 30, 20)),
            "dog/turned.jpg": encoded(noise(61, 30, 20), "JPEG", exif=turned),
        },
    )
    wanted = {name: (8, 8) for name in two_classes()} | {"cat/wide.png": (30, 20), "dog/turned.jpg": (20, 30)}
    fresh, cached = (load(images).data for _ in range(2))
    halves = source(tmp_path, images, fraction=0.4)
    for part in (fresh, cached, halves.pool, halves.test):
        assert part.sizes is not None
        assert part.sizes.dtype == torch.int32
        assert list(map(tuple, part.sizes.tolist())) == [wanted[name] for name in part.names]
    assert sorted(halves.pool.names + halves.test.names) == sorted(wanted)
    for odd in (fresh.sizes[1:], fresh.sizes.long(), fresh.sizes[:, :1]):
        with pytest.raises(UserError, match=r"sizes must be int32 \(8, 2\)"):
            replace(fresh, sizes=odd)


def test_it_is_known_where_the_test_images_come_from(images: Path, tmp_path: Path) -> None:
    packed = tmp_path / "images.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(images, ".")
    assert source(tmp_path, images).test_origin == "held out of the same folder"
    assert source(tmp_path, packed).test_origin == "held out of the same tar file"
    assert source(tmp_path, packed, images).test_origin == "in a separate folder"
    assert source(tmp_path, images, packed).test_origin == "in a separate tar file"


def test_a_cache_that_cannot_be_written_is_only_a_warning(
    images: Path, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load(images).data) == 6
    assert "not cached" in caplog.text


# --- train and test


def test_test_split_is_the_same_for_every_seed_and_disjoint(tmp_path: Path) -> None:
    images = write(tmp_path / "images", two_classes(20))
    loaded = source(tmp_path, images, fraction=0.25)
    again = source(tmp_path, images, fraction=0.25)
    assert torch.equal(loaded.test.images, again.test.images)
    assert torch.bincount(loaded.test.labels).tolist() == [5, 5]
    whole = {image.numpy().tobytes() for part in (loaded.pool, loaded.test) for image in part.images}
    assert len(whole) == len(loaded.pool) + len(loaded.test) == 40
    config = ImageFolderConfig("image_folder", train=str(images), val_size=6)
    splits = [ImageDataModule(loaded, config, seed).split for seed in (0, 1)]
    assert not torch.equal(splits[0].val, splits[1].val)


def test_a_test_folder_of_its_own(images: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test", {name: encoded(noise(50)) for name in ("cat/x.png", "dog/y.png")})
    loaded = source(tmp_path, images, test)
    assert (len(loaded.pool), len(loaded.test)) == (6, 2)
    write(test, {"emu/z.png": encoded(noise(51))})
    with pytest.raises(UserError, match=r"different classes.*only in test \['emu'\]"):
        source(tmp_path, images, test)


@pytest.mark.parametrize("fraction", [0.05, 0.97])
def test_a_fraction_that_leaves_a_split_empty(images: Path, tmp_path: Path, fraction: float) -> None:
    with pytest.raises(UserError, match=r"data\.test_fraction"):
        source(tmp_path, images, fraction=fraction)
