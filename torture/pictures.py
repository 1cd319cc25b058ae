"""Image folders as people have them: damaged files, odd files, odd names, missing labels."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from torture.case import Broken, Case
from torture.expect import sentence
from torture.jobs import complete
from torture.workplace import Finished, Workplace

FAMILY = "Images and labels"
TRAIN = (
    "model=small_cnn", "model.weights=none", "logger=none", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.progress=false", "data=image_folder", "data.train=images", "data.size=8", "data.crop_padding=1",
    "data.val_size=4", "data.batch_size=8", "trainer.epochs=1", "run_dir=run",
)  # fmt: skip
CLASSES, PER_CLASS = ("cat", "dog"), 12
READ = "it is read; the run is complete"
NAMED = "exit code 2 and one sentence that names the file; data.on_bad_image=skip leaves it out and counts it"
SAID = "exit code 2 and one sentence"


def noise(seed: int, width: int = 8, height: int = 8, channels: int = 3) -> np.ndarray:
    """uint8 (height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain_folder(root: Path) -> Path:
    """Two classes of twelve small images."""
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for number in range(PER_CLASS):
            picture = Image.fromarray(noise(number + 100 * CLASSES.index(label)))
            (root / label / f"{number}.png").write_bytes(encoded(picture))
    return root


def bomb(side: int = 20_000) -> bytes:
    """A PNG of some hundred kilobytes that is 400 million pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    row = bytes(1 + side // 8)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _float_tiff(value: float) -> bytes:
    values = np.full((8, 8), 0.5, dtype=np.float32)
    values[3, 3] = value
    return encoded(Image.fromarray(values), "TIFF")


@dataclass(frozen=True)
class Odd:
    """A file in the folder of the class cat."""

    name: str
    file: str
    content: Callable[[], bytes]


def _sixteen_bit() -> bytes:
    return encoded(Image.fromarray(noise(1)[..., 0].astype(np.uint16) * 257))


READABLE = (
    Odd("wrong extension", "x.jpg", lambda: encoded(Image.fromarray(noise(1)))),
    Odd("16-bit grey PNG", "x.png", _sixteen_bit),
    Odd("CMYK JPEG", "x.jpg", lambda: encoded(Image.fromarray(noise(1)).convert("CMYK"), "JPEG")),
    Odd("alpha", "x.png", lambda: encoded(Image.fromarray(noise(1, channels=4)))),
    Odd("1×1 pixel", "x.png", lambda: encoded(Image.fromarray(noise(1, 1, 1)))),
    Odd("20,000×10 pixels", "x.png", lambda: encoded(Image.fromarray(noise(1, 20_000, 10)))),
    Odd("a newline in the name", "a\nb.png", lambda: encoded(Image.fromarray(noise(1)))),
)
UNREADABLE = (
    Odd("truncated JPEG", "x.jpg", lambda: encoded(Image.fromarray(noise(1, 64, 64)), "JPEG")[:1500]),
    Odd("a text named .jpg", "x.jpg", lambda: b"These are not the pixels you are looking for.\n"),
    Odd("an empty file", "x.jpg", lambda: b""),
    Odd("decompression bomb", "x.png", bomb),
    Odd("NaN among the pixels", "x.tiff", lambda: _float_tiff(float("nan"))),
    Odd("Inf among the pixels", "x.tiff", lambda: _float_tiff(float("inf"))),
    Odd("unreadable, a newline in the name", "a\nb.png", lambda: b"no image"),
)


def cases() -> Iterator[Case]:
    """Each odd file among good ones, and folders that are none of classes."""
    for odd in READABLE:
        done = "one such file among 24 good ones, in training"
        yield Case(FAMILY, odd.name, done, READ, partial(_readable, odd=odd), alone=False)
    for odd in UNREADABLE:
        done = "one such file among 24 good ones, in training"
        yield Case(FAMILY, odd.name, done, NAMED, partial(_unreadable, odd=odd), alone=False)
    yield Case(
        FAMILY, "unreadable file, tlcl predict", "a text named .jpg among new images",
        "exit code 2 and one sentence that names the file; --skip-bad leaves it out", _predict, alone=False,
    )  # fmt: skip
    yield Case(
        FAMILY, "symlink loops", "a link in a class folder to the folder above, and one to itself",
        "the first is passed over, the second named; nothing hangs", _loops, alone=False,
    )  # fmt: skip
    yield Case(FAMILY, "an empty class folder", "a third folder without a file", SAID, _empty_class, alone=False)
    yield Case(FAMILY, "labels missing", "images without class folders", SAID, _flat, alone=False)
    yield Case(FAMILY, "one class only", "a single class folder", SAID, _one_class, alone=False)
    yield Case(FAMILY, "no folder", "data.train names nothing that is there", SAID, _nothing, alone=False)
    yield Case(
        FAMILY, "a class missing in the test folder", "data.test with one class folder less", SAID, _test_class,
        alone=False,
    )  # fmt: skip


def _summary(place: Workplace, finished: Finished, run: str = "run") -> dict:
    complete(finished)
    return dict(json.loads((place.path / run / "summary.json").read_text()))


def _images(summary: dict) -> int:
    return int(summary["train_size"] + summary["val_size"] + summary["test_size"])


def _readable(place: Workplace, odd: Odd) -> str:
    (plain_folder(place.path / "images") / "cat" / odd.file).write_bytes(odd.content())
    count = _images(_summary(place, place.train(*TRAIN)))
    if count != 25:
        raise Broken(f"{count} images of 25")
    return "complete, with 25 images"


def _unreadable(place: Workplace, odd: Odd) -> str:
    (plain_folder(place.path / "images") / "cat" / odd.file).write_bytes(odd.content())
    said = sentence(place.train(*TRAIN), 2, repr(f"cat/{odd.file}"), "data.on_bad_image=skip")
    summary = _summary(place, place.train(*TRAIN, "data.on_bad_image=skip"))
    if (summary["skipped_images"], _images(summary)) != (1, 24):
        raise Broken(f"{summary['skipped_images']} left out, {_images(summary)} images of 24")
    return f"{said}; with skip complete, 1 left out"


def _predict(place: Workplace) -> str:
    (plain_folder(place.path / "images")).rename(place.path / "good")
    _summary(place, place.train(*TRAIN, "data.train=good"))
    bad = place.path / "new" / "x.jpg"
    bad.parent.mkdir()
    bad.write_bytes(b"a text")
    said = sentence(place.run("tlcl.commands.predict", "run", "new", "good"), 2, "new/x.jpg", "--skip-bad")
    rows = complete(place.run("tlcl.commands.predict", "run", "new", "good", "--skip-bad")).out.splitlines()
    if len(rows) != 25:
        raise Broken(f"{len(rows) - 1} predictions of 24")
    return f"{said}; with --skip-bad 24 predictions"


def _loops(place: Workplace) -> str:
    folder = plain_folder(place.path / "images") / "cat"
    (folder / "up").symlink_to("..", target_is_directory=True)
    count = _images(_summary(place, place.train(*TRAIN)))
    if count != 24:
        raise Broken(f"{count} images of 24")
    (folder / "self.png").symlink_to("self.png")
    said = sentence(place.train(*TRAIN, "run_dir=again"), 2, "cat/self.png")
    return f"the first: complete, with 24 images; the second: {said}"


def _refused(place: Workplace, *words: str) -> str:
    said = sentence(place.train(*TRAIN), 2, *words)
    if (place.path / "run" / "config.yaml").exists():
        raise Broken("a run was left that cannot be resumed")
    return said


def _empty_class(place: Workplace) -> str:
    (plain_folder(place.path / "images") / "emu").mkdir()
    return _refused(place, "'emu'", "images")


def _flat(place: Workplace) -> str:
    folder = place.path / "images"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encoded(Image.fromarray(noise(number))))
    return _refused(place, "images", "two class folders")


def _one_class(place: Workplace) -> str:
    folder = plain_folder(place.path / "images")
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()
    return _refused(place, "images", "two class folders", "'cat'")


def _nothing(place: Workplace) -> str:
    return _refused(place, "images does not exist")


def _test_class(place: Workplace) -> str:
    plain_folder(place.path / "images")
    test = plain_folder(place.path / "test")
    (test / "dog").rename(test / "emu")
    said = sentence(place.train(*TRAIN, "data.test=test"), 2, "different classes", "dog", "emu")
    return said
