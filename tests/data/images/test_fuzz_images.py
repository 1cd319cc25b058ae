"""Folders and tar files of images as they come: what is loaded, what is counted, and that nothing else is read."""

import io
import json
import os
import string
import tarfile
from collections.abc import Set
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import composed, go
from tlcl.data.images.decode import BadImage, decode_image
from tlcl.data.images.files import read_files
from tlcl.data.sources.folder_images import Decoded, Decoding, load_folder
from tlcl.errors import UserError
from tlcl.jobs import finetune as finetuning

ODD = ["é", "猫", "a b", "a\nb", "'", '"', "<b>", "$x$", "a.b", "-", "=1", "%", "~", "\\", "\x1b[31m", "\udcff"]
NAMES = st.sampled_from([*string.ascii_lowercase[:4], *ODD])
HIDDEN = st.sampled_from([".git", ".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini"])
ENDINGS = st.sampled_from(["", ".png", ".jpg", ".PNG", ".txt"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).flatmap(
    lambda folders: st.tuples(st.sampled_from(["", *ODD, "x", "y"]), ENDINGS).map(
        lambda end: "/".join([*folders, "".join(end) or "z"])
    )
)


def png(seed: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (2, 2), (seed % 256, seed // 256 % 256, 7)).save(content, "PNG")
    return content.getvalue()


PICTURES = [png(seed) for seed in range(40)]
BROKEN = [b"", b"text", PICTURES[0][:40], b"\x89PNG\r\n\x1a\n", b"GIF89a"]
CONTENTS = st.integers(0, 39).map(PICTURES.__getitem__) | st.sampled_from(BROKEN)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """path -> content of files that do not lie where another has its folder."""
    files: dict[str, bytes] = {}
    for path in draw(st.lists(PATHS, max_size=8, unique=True)):
        above = {str(parent) for parent in PurePosixPath(path).parents}
        if not above & set(files) and not any(path in map(str, PurePosixPath(other).parents) for other in files):
            files[path] = draw(CONTENTS)
    return files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def expected(files: dict[str, bytes]) -> tuple[dict[str, bytes], set[str]]:
    """(what is an image in a class folder, what is to be named as left out)."""
    good = {path: content for path, content in files.items() if content in PICTURES and "/" in path}
    return good, set(files) - set(good)


def check(loaded: Decoded, good: dict[str, bytes], left_out: set[str]) -> None:
    assert set(loaded.data.names) == set(good)
    assert len(loaded.data.names) == len(good)
    for name, image, label in zip(loaded.data.names, loaded.data.images, loaded.data.labels, strict=True):
        assert torch.equal(image, decode_image(good[name], 2, 3))
        # Not every file and picture can hold the bytes of a class's name.
        assert loaded.data.classes[label] == name.split("/")[0].replace("\udcff", "\\udcff")
    named = {item.rpartition(" (")[0] for item in loaded.skipped}
    assert named == {repr(name) for name in left_out}
    assert len(loaded.skipped) == len(left_out)


def load(path: Path, cache: Path) -> Decoded | str:
    """What is loaded, or the one sentence that says why nothing is."""
    sentence = ""
    try:
        return load_folder(path, Decoding(2, 3, "skip", cache))
    except UserError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def loadable(good: dict[str, bytes], files: dict[str, bytes], folders: Set[str] = frozenset()) -> bool:
    """Two classes, and an image in each that has a file or, in a folder, is one of `folders`."""
    classes = {path.split("/")[0] for path in files if "/" in path} | folders
    return len(classes) > 1 and classes == {path.split("/")[0] for path in good}


@given(trees(), st.lists(HIDDEN, max_size=3), st.lists(NAMES, max_size=2))
@example({"a/x": PICTURES[0], "\udcff/x": PICTURES[1], "a\nb/c/.x": b""}, [], [])
@example({"a\nb/x": PICTURES[0]}, [], [])
def test_folders(shared: Path, files: dict[str, bytes], litter: list[str], empty: list[str]) -> None:
    """Whatever the names: every image is loaded under its name and class, every other file is named."""
    with TemporaryDirectory() as root:
        for path, content in files.items():
            (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / path).write_bytes(content)
        for name in empty:
            if name not in files:
                (Path(root) / name).mkdir(exist_ok=True)
        folders = {path.name for path in Path(root).iterdir() if path.is_dir()}
        for name in litter:
            (Path(root) / name).write_bytes(PICTURES[0])
        files = {path: content for path, content in files.items() if not path.endswith(".txt")}  # passed over
        visible = {path: content for path, content in files.items() if "/." not in path}
        good, left_out = expected(visible)
        loaded = load(Path(root), shared)
        assert isinstance(loaded, Decoded) == loadable(good, visible, folders)
        if isinstance(loaded, Decoded):
            check(loaded, good, left_out)


KINDS = {
    "file": tarfile.REGTYPE, "old file": tarfile.AREGTYPE, "hard link": tarfile.LNKTYPE, "link": tarfile.SYMTYPE,
    "device": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE,
    "unknown": b"Z",
}  # fmt: skip
PLACES = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/c/3.png"]
TARGETS = [*PLACES, "a", "b/c", ".", "..", "/", "", "no", "/etc/passwd", "../../etc/passwd", "../a/1.png", "1.png"]
MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(["", "/", "./", "../", "a/../", "//"]),
        st.sampled_from([*PLACES, "flat.png", "", "a", ".hidden/x.png"]),
        st.sampled_from(sorted(KINDS)),
        st.sampled_from(TARGETS),
        st.integers(0, 39),
    ),
    max_size=8,
)
Member = tuple[str, str, str, str, int]
TWO: list[Member] = [("", "a/1.png", "file", "", 0), ("", "b/1.png", "file", "", 1)]


def is_folder(name: str, kind: str) -> bool:
    """Before there was a kind of their own, folders were files whose names end so."""
    return kind == "folder" or (kind == "old file" and name.endswith("/"))


def pack(path: Path, members: list[Member]) -> None:
    with tarfile.open(path, "w") as archive:
        for before, name, kind, target, seed in members:
            member = tarfile.TarInfo(before + name)
            member.type, member.linkname = KINDS[kind], target
            has_content = kind in ("file", "old file", "unknown") and not is_folder(member.name, kind)
            member.size = len(PICTURES[seed]) if has_content else 0
            archive.addfile(member, io.BytesIO(PICTURES[seed]))


def inside(members: list[Member]) -> tuple[dict[str, bytes], set[str]]:
    """(name -> image, names left out) by brute force: the last of a name counts, links are followed by name."""
    held: dict[str, Member] = {}
    for member in members:
        held["/".join(part for part in f"{member[0]}{member[1]}".split("/") if part not in ("", "."))] = member
    images: dict[str, bytes] = {}
    left_out: set[str] = set()
    for name, member in held.items():
        if is_folder(member[0] + member[1], member[2]) or ".hidden" in name:
            continue
        at = name
        for _ in range(20):
            kind, target = held[at][2:4]
            if kind == "link":
                at = os.path.normpath(os.path.join(os.path.dirname(at), target))
            elif kind == "hard link":
                at = "/".join(part for part in target.split("/") if part not in ("", ".")) or "."
            else:
                break
            if at not in held:
                break
        whole = at in held and held[at][2] in ("file", "old file") and ".." not in name.split("/")
        whole = whole and not is_folder("".join(held[at][:2]), held[at][2])
        if whole and "/" in name:
            images[name] = PICTURES[held[at][4]]
        else:
            left_out.add(name or ".")
    return images, left_out


@given(MEMBERS)
@example([*TWO, ("", "b/2.png", "hard link", "no", 0)])
@example([*TWO, ("", "a/2.png", "link", "2.png", 0)])
@example([("/", "a/1.png", "file", "", 0), ("/", "b/1.png", "file", "", 1), ("../", "a/1.png", "file", "", 2)])
@example([*TWO, ("", "a/1.png", "file", "", 2)])
@example([*TWO, ("/", "", "old file", "", 2)])
def test_tar_files(shared: Path, members: list[Member]) -> None:
    """Links lead to other files of the archive alone; what is no image of it is named, and nothing is written."""
    with TemporaryDirectory() as root:
        packed = Path(root) / "images.tar"
        pack(packed, members)
        good, left_out = inside(members)
        names = {**good, **dict.fromkeys(left_out, b"")}
        loaded = load(packed, shared)
        assert isinstance(loaded, Decoded) == loadable(good, names), loaded
        if isinstance(loaded, Decoded):
            check(loaded, good, left_out)
        assert os.listdir(root) == ["images.tar"]


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_tar_file_or_one_sentence(content: bytes) -> None:
    with TemporaryDirectory() as root:
        packed = Path(root) / "images.tar"
        packed.write_bytes(content)
        sentence = ""
        try:
            list(read_files(packed))
        except UserError as error:
            sentence = str(error)
        assert "\n" not in sentence


@given(st.sampled_from(["AVIF", "PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA"]), st.data())
def test_any_damage_to_an_image_is_an_image_or_a_reason(kind: str, data: st.DataObject) -> None:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).convert("RGB").save(content, kind)
    damaged = bytearray(content.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    reason = "an image"
    try:
        assert decode_image(bytes(damaged[:cut]), 4, 3).shape == (3, 4, 4)
    except BadImage as bad:
        reason = str(bad)
    assert reason
    assert "\n" not in reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).write_bytes(PICTURES[0])
    return tmp_path / "images"


def test_a_pipe_or_device_in_a_folder_is_not_read(folder: Path, shared: Path) -> None:
    """Reading either would go on for ever."""
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "b" / "zeros.png").symlink_to("/dev/zero")
    loaded = load(folder, shared)
    assert isinstance(loaded, Decoded)
    assert sorted(loaded.skipped) == ["'a/pipe.png' (no ordinary file)", "'b/zeros.png' (no ordinary file)"]
    assert len(loaded.data) == 2


def test_a_file_that_claims_to_be_huge_is_not_read(folder: Path, shared: Path, tmp_path: Path) -> None:
    """A sparse file takes no room on the disk, and a packed one hardly any."""
    with open(folder / "a" / "huge.png", "wb") as file:
        file.truncate(1 << 40)
    loaded = load(folder, shared)
    assert isinstance(loaded, Decoded)
    assert loaded.skipped == ("'a/huge.png' (larger than 1 GiB)",)
    sparse = tarfile.TarInfo("a/huge.png")
    sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 40)}
    sparse.pax_headers |= {"GNU.sparse.map": "0,0", "GNU.sparse.name": "a/huge.png"}
    (folder / "a" / "huge.png").unlink()
    with tarfile.open(tmp_path / "images.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(folder, ".")
        archive.addfile(sparse)
    loaded = load(tmp_path / "images.tar", shared)
    assert isinstance(loaded, Decoded)
    assert loaded.skipped == ("'a/huge.png' (larger than 1 GiB)",)


def test_no_image_runs_another_program(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives EPS files, whatever their name, to Ghostscript."""
    mark, programs = tmp_path / "ran", tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    header = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(BadImage, match="not an image"):
        decode_image(header, 4, 3)
    assert not mark.exists()
    with pytest.raises(OSError, match=r"cannot|No such file|truncated"):
        Image.open(io.BytesIO(header)).load()
    assert mark.exists()  # what would have happened


@pytest.mark.slow
def test_a_whole_run_on_classes_with_odd_names(tmp_path: Path) -> None:
    """Pictures, page, tables and weights are there; each name is itself, or what stands for its bytes."""
    names = ["<script>alert(1)<_script>", "a\nb", "\udcff", "$x$", "=1+1", "x" * 200]
    for number, name in enumerate(names):
        (tmp_path / "images" / name).mkdir(parents=True)
        for seed in range(8):
            (tmp_path / "images" / name / f"{seed}\n\x1b.png").write_bytes(png(40 * number + seed))
    data = ["data=image_folder", f"data.train={tmp_path / 'images'}", "data.size=8", "data.crop_padding=0"]
    few = ["data.train_size=24", "data.val_size=8", "model=small_cnn", "trainer.epochs=1", "thaw.depth=0"]
    run = go(composed(tmp_path, *data, *few), finetuning.run)
    assert "<script>alert" not in (run / "report.html").read_text()
    assert (run / "plots" / "confusion.png").stat().st_size > 1000
    classes = json.loads((run / "labels.json").read_text())["classes"]
    assert sorted(classes) == sorted(name.replace("\udcff", "\\udcff") for name in names)
