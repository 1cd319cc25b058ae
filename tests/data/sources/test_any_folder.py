"""Folders as people have them: litter, splits, archives, numbers, Unicode, deep pixels, and sets that change."""

import io
import os
import stat
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.sources.test_image_folder import encoded, noise, two_classes, write
from tlcl.data.datamodule import ImageDataModule
from tlcl.data.images import contents, files, store
from tlcl.data.images.decode import BadImage, decode_image
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.sources import folder_images
from tlcl.data.sources.folder_images import Classes, Decoding, load_folder
from tlcl.data.sources.image_folder import ImageFolderConfig, load_image_folder
from tlcl.data.sources.registry import load_source
from tlcl.errors import TrainingError, UserError
from tlcl.jobs.first_answer import labelled_images


@pytest.fixture
def decoding(tmp_path: Path) -> Decoding:
    return Decoding(8, 3, "error", tmp_path / "cache")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path / "images", two_classes())


# --- what is there beside photos


def test_litter_of_servers_and_systems_is_neither_image_nor_class(images: Path, decoding: Decoding) -> None:
    places = [
        "@eaDir/cat/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/old.png",
        "$RECYCLE.BIN/x/y.png", "System Volume Information/z", "lost+found/#1", "cat/.@__thumb/0.png",
        "@Recycle/cat/0.png", "dog/ehthumbs.db", "#snapshot/cat/0.png",
    ]  # fmt: skip
    write(images, dict.fromkeys(places, encoded(noise(1))))
    data = load_folder(images, decoding).data
    assert (data.classes, len(data)) == (("cat", "dog"), 6)


def test_notes_are_one_line(images: Path, decoding: Decoding, caplog: pytest.LogCaptureFixture) -> None:
    others = {
        "notes.txt": b"x",
        "cat/labels.csv": b"x",
        "dog/film.mp4": b"x",
        "dog/0.xmp": b"<x/>",
        "README.MD": b"",
    }
    write(images, others)
    with caplog.at_level("INFO"):
        loaded = load_folder(images, decoding)
    assert (len(loaded.data), loaded.skipped) == (6, ())
    lines = [record.getMessage() for record in caplog.records]
    said = "5 files that are no images by their names in"
    assert [line for line in lines if said in line] == [
        f"passed over {said} {images}: README.MD, cat/labels.csv, dog/0.xmp, ..."
    ]


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Training", "testing"), ("training_set", "test_set"), ("train", "valid", "extra")],
)
def test_parts_of_a_data_set_are_no_classes(tmp_path: Path, decoding: Decoding, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / "whole" / name, two_classes())
    with pytest.raises(UserError, match="are parts of a data set and no classes; give") as caught:
        load_folder(tmp_path / "whole", decoding)
    assert f"data.train={tmp_path}/whole/{names[0]}" in str(caught.value)


def test_a_class_may_be_a_train(tmp_path: Path, decoding: Decoding) -> None:
    files = {
        f"{label}/{name[4:]}": content for label in ("train", "bus") for name, content in two_classes().items()
    }
    assert load_folder(write(tmp_path / "i", files), decoding).data.classes == ("bus", "train")


@pytest.mark.parametrize("name", ["cat/IMG_1.HEIC", "cat/IMG_1"])
def test_heic_is_named_with_what_to_do(
    images: Path, decoding: Decoding, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlcl.data.images.heif.import_module", lambda name: (_ for _ in ()).throw(ImportError))
    from tlcl.data.images.heif import heif_format

    heif_format.cache_clear()
    write(images, {name: bytes([0, 0, 0, 24]) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(400)})
    with pytest.raises(UserError, match=rf"{name}' \(a HEIC photo; install pillow-heif .*or save it as JPEG\)"):
        load_folder(images, decoding)


def test_heic_is_read_with_its_library() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    from tlcl.data.images.heif import heif_format

    heif_format.cache_clear()
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), (200, 30, 40))).save(buffer, quality=95)
    decoded = decode_image(buffer.getvalue(), 8, 3).float().mean((1, 2))
    assert (decoded - torch.tensor([200.0, 30.0, 40.0])).abs().max() < 4


def test_a_cameras_raw_file_is_named_and_not_its_preview(images: Path, decoding: Decoding) -> None:
    write(images, {"cat/DSC1.NEF": encoded(noise(3), "TIFF")})
    with pytest.raises(UserError, match=r"cat/DSC1\.NEF' \(a camera's raw file; save it as JPEG or PNG\)"):
        load_folder(images, decoding)


# --- names


def test_numbers_are_in_the_order_of_numbers(tmp_path: Path, decoding: Decoding) -> None:
    files = {f"{number}/{k}.png": encoded(noise(10 * number + k)) for number in range(12) for k in range(2)}
    root = write(tmp_path / "i", files)
    data = load_folder(root, decoding).data
    assert data.classes == tuple(map(str, range(12)))
    assert all(
        data.classes[label] == name.split("/")[0] for label, name in zip(data.labels, data.names, strict=True)
    )
    assert load_folder(root, decoding, Classes(sort="text")).data.classes[:3] == ("0", "1", "10")
    write(root, {"x/0.png": encoded(noise(999))})
    assert load_folder(root, decoding).data.classes[:3] == ("0", "1", "10")  # not all are numbers


def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    both = {f"{name}/{k}.png": encoded(noise(k)) for k, name in enumerate([composed, "tea"])}
    root = write(
        tmp_path / "train", {**both, f"{composed}/9.png": encoded(noise(9)), "tea/8.png": encoded(noise(8))}
    )
    test = write(tmp_path / "test", {f"{decomposed}/5.png": encoded(noise(5)), "tea/6.png": encoded(noise(6))})
    config = ImageFolderConfig("image_folder", train=str(root), test=str(test), size=8)
    source = load_image_folder(config, tmp_path / "cache")
    assert source.test.classes == source.pool.classes == (composed, "tea")
    assert source.test.labels.tolist() == [0, 1]
    write(root, {f"{decomposed}/4.png": encoded(noise(4))})  # both in one folder
    assert load_image_folder(config, tmp_path / "cache").pool.labels.tolist().count(0) == 3


def test_names_that_differ_in_capitals_alone_are_told_apart_in_words(tmp_path: Path, images: Path) -> None:
    test = write(tmp_path / "test", {"Cat/0.png": encoded(noise(1)), "dog/0.png": encoded(noise(2))})
    config = ImageFolderConfig("image_folder", train=str(images), test=str(test), size=8)
    with pytest.raises(UserError, match="'Cat' and 'cat' differ in capitals or spaces alone"):
        load_image_folder(config, tmp_path / "cache")


# --- archives


def zipped(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return path


def test_a_zip_file_equals_its_folder(images: Path, tmp_path: Path, decoding: Decoding) -> None:
    everything = {**two_classes(), "cat/": b"", "__MACOSX/cat/._0.png": b"x", ".DS_Store": b"x", "notes.txt": b"x"}
    packed = load_folder(zipped(tmp_path / "i.zip", everything), decoding).data
    folder = load_folder(images, decoding).data
    assert torch.equal(packed.images, folder.images)
    assert (packed.names, packed.classes) == (folder.names, folder.classes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "i.zip", "images"]


def test_what_a_zip_file_may_not_do(tmp_path: Path) -> None:
    links = {
        "cat/link.png": "0.png", "cat/out.png": "../../etc/passwd", "dog/abs.png": "/etc/passwd",
        "dog/self.png": "self.png",
    }  # fmt: skip
    packed = zipped(tmp_path / "i.zip", {**two_classes(), "dog/../../9.png": encoded(noise(9))}, links)
    loaded = load_folder(packed, Decoding(8, 3, "skip", tmp_path / "cache"))
    assert "cat/link.png" in loaded.data.names
    assert sorted(loaded.skipped) == [
        "'cat/out.png' (a link to what is not in the zip file)",
        "'dog/../../9.png' (a name that leads out of the zip file)",
        "'dog/abs.png' (a link to what is not in the zip file)",
        "'dog/self.png' (a link to itself)",
    ]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_zip_file_cut_short(tmp_path: Path, decoding: Decoding, share: float) -> None:
    whole = zipped(tmp_path / "i.zip", two_classes()).read_bytes()
    (tmp_path / "i.zip").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"i\.zip cannot be read as a zip file") as caught:
        load_folder(tmp_path / "i.zip", decoding)
    assert "\n" not in str(caught.value)


# --- pixels of more than 8 bits


def deep(values: np.ndarray, kind: str = "TIFF") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_by_their_type_whatever_is_brightest(kind: str) -> None:
    for top in (1, 200, 255, 256, 257, 4095, 65535):
        decoded = decode_image(deep(np.full((8, 8), top, dtype=np.uint16), kind), 8, 1)
        assert decoded.unique().tolist() == [round(top / 257)]


def test_floats_from_0_to_1_are_scaled_and_others_are_refused() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert torch.equal(decode_image(deep(ramp), 8, 1)[0], torch.from_numpy(np.rint(255 * ramp).astype(np.uint8)))
    for wrong in (2 * ramp, ramp - 0.5):
        with pytest.raises(BadImage, match=r"float pixels beyond 0 to 1, here from .*data\.pixel_range="):
            decode_image(deep(wrong), 8, 1)
    with pytest.raises(BadImage, match="NaN"):
        decode_image(deep(np.where(ramp > 0.5, np.nan, ramp)), 8, 1)


def test_signed_and_32_bit_pixels_need_a_range() -> None:
    signed = np.arange(-32, 32, dtype=np.int32).reshape(8, 8)
    with pytest.raises(
        BadImage, match=r"signed or 32-bit pixels, here from -32 to 31; data\.pixel_range=\[LOW,HIGH\]"
    ):
        decode_image(deep(signed), 8, 1)
    decoded = decode_image(deep(signed), 8, 1, PixelRange(-32, 31))
    assert decoded.flatten().tolist() == [round(255 * value / 63) for value in range(64)]
    assert decode_image(deep(signed), 8, 1, PixelRange(-10, 10)).flatten()[[0, 32, 63]].tolist() == [0, 128, 255]


def test_a_12_bit_tiff_is_white_at_4095() -> None:
    """Packed by hand: two pixels in three bytes, as Pillow writes none (TIFF 6.0, section 4)."""
    tags = [(256, 2), (257, 2), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, 6)]
    body = b"".join(
        tag.to_bytes(2, "little") + b"\3\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags
    )
    rows = b"\xff\xff\xff\x80\x08\x00"  # 4095 4095 / 2048 2048
    content = b"II*\0" + (14).to_bytes(4, "little") + rows + len(tags).to_bytes(2, "little") + body + bytes(4)
    assert decode_image(content, 2, 1).flatten().tolist() == [255, 255, 128, 128]


def test_the_range_is_the_same_for_a_whole_set_and_dark_ones_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    levels = {"a/0.png": 100, "a/1.png": 1000, "b/0.png": 2000, "b/1.png": 4000}
    pictures = {name: deep(np.full((8, 8), level, np.uint16), "PNG") for name, level in levels.items()}
    root = write(tmp_path / "i", pictures)
    by_type = load_folder(root, Decoding(8, 1, "error", tmp_path / "cache")).data
    assert by_type.images[:, 0, 0, 0].tolist() == [round(level / 257) for level in levels.values()]
    assert "use 6.1 % of their range at most and are dark; data.pixel_range=[LOW,HIGH]" in caplog.text
    caplog.clear()
    given = Decoding(8, 1, "error", tmp_path / "cache", PixelRange(0, 4000))
    assert load_folder(root, given).data.images[:, 0, 0, 0].tolist() == [6, 64, 128, 255]
    assert not caplog.text


# --- sets that change, and sets that do not


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    read, names = files.read_file, []

    def noted(path: Path) -> files.Content:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(files, "read_file", noted)
    return names


def test_a_second_start_reads_what_changed_and_decodes_it_alone(
    images: Path, decoding: Decoding, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "YOUNG", -10.0)  # the files are as young as the test
    first = load_folder(images, decoding).data
    assert len(reads) == 12  # hashed, then decoded
    reads.clear()
    assert torch.equal(load_folder(images, decoding).data.images, first.images)
    assert reads == []
    decoded: list[int] = []
    decode = folder_images.decode_sized
    monkeypatch.setattr(folder_images, "decode_sized", lambda *given: decoded.append(1) or decode(*given))
    write(images, {"dog/1.png": encoded(noise(77)), "dog/new.png": encoded(noise(78))})
    (images / "cat/0.png").unlink()
    fresh = load_folder(images, decoding).data
    assert sorted(reads) == ["1.png", "1.png", "new.png", "new.png"]
    assert len(decoded) == 2
    expected = [decode_image((images / name).read_bytes(), 8, 3) for name in fresh.names]
    assert torch.equal(fresh.images, torch.stack(expected))
    assert fresh.digests is not None
    assert len({bytes(one) for one in fresh.digests.numpy()}) == 6


def test_a_file_as_young_as_the_look_is_read_again(images: Path, decoding: Decoding, reads: list[str]) -> None:
    load_folder(images, decoding)
    reads.clear()
    load_folder(images, decoding)
    assert len(reads) == 6


def test_an_archive_is_not_opened_again(
    tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zipped(tmp_path / "i.zip", two_classes())
    os.utime(packed, (1, 1))
    monkeypatch.setattr(contents, "YOUNG", -10.0)
    first = load_folder(packed, decoding).data
    monkeypatch.setattr(contents, "read_files", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(folder_images, "read_files", lambda *_: pytest.fail("opened"))
    assert torch.equal(load_folder(packed, decoding).data.images, first.images)


def test_held_out_images_lie_behind_the_others_and_nothing_is_copied(tmp_path: Path) -> None:
    root = write(tmp_path / "i", two_classes(10))
    config = ImageFolderConfig("image_folder", train=str(root), size=8, test_fraction=0.3)
    source = load_image_folder(config, tmp_path / "cache")
    assert (len(source.pool), len(source.test)) == (14, 6)
    start = source.pool.images.untyped_storage().data_ptr()
    assert source.test.images.untyped_storage().data_ptr() == start
    for part in (source.pool, source.test):
        expected = [decode_image((root / name).read_bytes(), 8, 3) for name in part.names]
        assert torch.equal(part.images, torch.stack(expected))
        assert list(part.names) == sorted(part.names)


def test_bad_files_change_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With an unreadable file among them, the images that are held out are those of the set without it."""
    root = write(tmp_path / "i", two_classes(10))
    config = ImageFolderConfig("image_folder", train=str(root), size=8, on_bad_image="skip")
    without = load_image_folder(config, tmp_path / "cache")
    write(root, {"cat/00.png": b"bad", "dog/99.png": b""})
    among = load_image_folder(config, tmp_path / "cache")
    assert (among.pool.names, among.test.names) == (without.pool.names, without.test.names)
    assert torch.equal(among.pool.images, without.pool.images)
    assert torch.equal(among.test.images, without.test.images)
    assert "not cached" not in caplog.text
    assert len(list((tmp_path / "cache").rglob("*.images.bin"))) == 2


# --- validation on a folder of its own


def with_validation(tmp_path: Path, **keys: object) -> ImageFolderConfig:
    train = write(tmp_path / "train", two_classes(10))
    val = write(
        tmp_path / "val", {f"{c}/{k}.png": encoded(noise(900 + k)) for c in ("cat", "dog") for k in range(3)}
    )
    return ImageFolderConfig("image_folder", train=str(train), val=str(val), size=8, **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(("val_size", "held"), [(None, 6), (2, 2)])
def test_validation_images_come_from_their_folder_alone(tmp_path: Path, val_size: int | None, held: int) -> None:
    config = with_validation(tmp_path, val_size=val_size)
    source = load_image_folder(config, tmp_path / "cache")
    for seed in (0, 1):
        split = ImageDataModule(source, config, seed).split
        assert all(source.pool.names[index].startswith("val/") for index in split.val)
        assert not any(source.pool.names[index].startswith("val/") for index in split.train)
        assert (len(split.train), len(split.val)) == (16, held)
    for index, name in enumerate(source.pool.names):
        path = tmp_path / (name if name.startswith("val/") else f"train/{name}")
        assert torch.equal(source.pool.images[index], decode_image(path.read_bytes(), 8, 3))


def test_a_test_folder_may_lack_a_class_and_a_validation_folder_may_have_no_other(tmp_path: Path) -> None:
    config = with_validation(tmp_path)
    test = write(tmp_path / "test", {"dog/0.png": encoded(noise(1))})
    config.test = str(test)
    source = load_image_folder(config, tmp_path / "cache")
    assert source.test.labels.tolist() == [1]
    write(tmp_path / "val", {"emu/0.png": encoded(noise(3))})
    with pytest.raises(UserError, match=r"only in validation \['emu'\]"):
        load_image_folder(config, tmp_path / "cache")


def test_a_class_left_without_a_training_image_is_named(tmp_path: Path) -> None:
    counts = {"rare": 2, "b": 40, "c": 40}
    names = [f"{label}/{k}.png" for label, count in counts.items() for k in range(count)]
    root = write(tmp_path / "i", {name: encoded(noise(k)) for k, name in enumerate(names)})
    config = ImageFolderConfig("image_folder", train=str(root), size=8, train_size=12)
    source = load_image_folder(config, tmp_path / "cache")
    with pytest.raises(UserError, match=r"the class 'rare' has no training image.*data\.train_size=12"):
        ImageDataModule(source, config, 0)


def test_what_cannot_be_decoded_is_tried_again_at_every_start(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `pip install 'tlcl[heic]'`: what was bad is good, though no file has changed."""
    monkeypatch.setattr(contents, "YOUNG", -10.0)
    write(images, {"cat/9.xyz": encoded(noise(70))})
    decode = folder_images.decode_sized

    def without(content: bytes, *given: object) -> object:
        if content == encoded(noise(70)):
            raise BadImage("no reader")
        return decode(content, *given)  # type: ignore[arg-type]

    skipping = Decoding(8, 3, "skip", tmp_path / "cache")
    monkeypatch.setattr(folder_images, "decode_sized", without)
    for _ in range(2):
        assert len(load_folder(images, skipping).data) == 6
    monkeypatch.setattr(folder_images, "decode_sized", decode)
    fresh = load_folder(images, skipping)
    assert (len(fresh.data), fresh.skipped) == (7, ())


def test_a_failure_to_read_is_not_the_files_own(
    images: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "YOUNG", -10.0)
    read = files.read_file
    monkeypatch.setattr(files, "read_file", lambda path: BadImage("Input/output error"))
    with pytest.raises(UserError, match="Input/output error"):
        load_folder(images, decoding)
    monkeypatch.setattr(files, "read_file", read)
    assert len(load_folder(images, decoding).data) == 6


def test_folders_that_change_places_change_the_labels(
    images: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With files of equal names, sizes and times, as on a disk whose clock is coarse."""
    monkeypatch.setattr(contents, "YOUNG", -10.0)
    stamp = files.Stamp
    monkeypatch.setattr(files, "Stamp", lambda size, modified, changed, number: stamp(1, 1, 1, number))
    first = load_folder(images, decoding).data
    (images / "cat").rename(images / "x")
    (images / "dog").rename(images / "cat")
    (images / "x").rename(images / "dog")
    swapped = load_folder(images, decoding).data
    assert torch.equal(swapped.images, first.images[[3, 4, 5, 0, 1, 2]])


def test_16_bit_colours_are_dark_aloud_and_take_no_range(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Written by hand: Pillow writes none (PNG, Third Edition, section 11)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    def png(value: int) -> bytes:
        rows = (b"\0" + value.to_bytes(2) * 3 * 8) * 8
        head = (8).to_bytes(4) * 2 + bytes([16, 2, 0, 0, 0])
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + body

    root = write(tmp_path / "i", {f"{label}/{k}.png": png(4095 - k) for label in "ab" for k in range(2)})
    assert load_folder(root, Decoding(8, 3, "error", tmp_path / "cache")).data.images.unique().tolist() == [15]
    assert "use 5.9 % of their range at most and are dark" in caplog.text
    with pytest.raises(UserError, match="16-bit colours, of which the upper 8 bits alone can be read"):
        load_folder(root, Decoding(8, 3, "error", tmp_path / "cache", PixelRange(0, 4095)))


def test_validation_images_that_were_set_apart_fit_no_head(tmp_path: Path) -> None:
    config = with_validation(tmp_path)
    data = ImageDataModule(load_image_folder(config, tmp_path / "cache"), config, 0)
    assert torch.equal(labelled_images(data), data.split.train)
    config.val = None
    data = ImageDataModule(load_image_folder(config, tmp_path / "cache"), config, 0)
    assert torch.equal(labelled_images(data), torch.arange(16))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_no_memory_while_images_are_read_speaks_of_them(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(folder_images, "decode_sized", full)
    config = ImageFolderConfig("image_folder", train=str(images), size=8)
    with pytest.raises(TrainingError, match=rf"while the images of data\.train={images} were read; .*data\.size"):
        load_source(config, str(tmp_path / "cache"))


def test_images_that_fit_neither_disk_nor_memory_are_one_sentence(
    images: Path, tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load_folder(images, decoding).data) == 6  # memory has room
    monkeypatch.setattr(store, "available_memory", lambda: 100)
    with pytest.raises(UserError, match=r"have no room in memory, and .*cache/images cannot be written"):
        load_folder(images, decoding)
