"""Whatever is downloaded comes by https and has a known hash, or is not used."""

import hashlib
import re
import tarfile
from collections.abc import Callable
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import pytest
import torch
from torchvision.datasets import CIFAR10
from torchvision.datasets import utils as torchvision_utils
from torchvision.models import ResNet18_Weights

from tests.conftest import ROOT
from tests.data.sources.conftest import fabricate_cifar10
from tlcl.data.sources import cifar10
from tlcl.data.sources.cifar10 import Cifar10Config
from tlcl.errors import UserError
from tlcl.models import resnet18

Serve = Callable[[bytes], list[str]]


class Answer(BytesIO):
    def info(self) -> Message:
        return Message()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """A network on which every address holds these bytes; returns the addresses that are asked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def start(content: bytes) -> list[str]:
        asked: list[str] = []

        def urlopen(request: Any, *_: object, **__: object) -> Answer:
            asked.append(request if isinstance(request, str) else request.full_url)
            return Answer(content)

        def none(*_: object, **__: object) -> None:
            raise AssertionError("torchvision downloads by itself")

        monkeypatch.setattr(torch.hub, "urlopen", urlopen)
        monkeypatch.setattr(torchvision_utils, "_urlretrieve", none)
        monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", none)
        return asked

    return start


def test_the_addresses_are_https_and_carry_hashes() -> None:
    for url in (CIFAR10.url, ResNet18_Weights.IMAGENET1K_V1.url):
        assert urlparse(url).scheme == "https"
    assert re.fullmatch(r"resnet18-[0-9a-f]{8,64}\.pth", ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    assert re.fullmatch(r"[0-9a-f]{64}", cifar10.SHA256)


def test_the_source_names_no_other_address() -> None:
    for path in (ROOT / "tlcl").rglob("*.py"):
        addresses = re.findall(r"\b[a-z]+://[^\s\"')]*", path.read_text())
        # A page served by this machine to itself, where the host is filled in.
        away = [url for url in addresses if not url.startswith(("http://127.0.0.1", "http://{"))]
        assert not [url for url in away if url.startswith(("http:", "ftp:", "git:"))], path


def test_weights_that_were_changed_on_the_way_are_not_used(serve: Serve, tmp_path: Path) -> None:
    asked = serve(b"something else")
    with pytest.raises(UserError, match="invalid hash value"):
        resnet18.imagenet()
    assert asked == [ResNet18_Weights.IMAGENET1K_V1.url]
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


def test_weights_in_the_cache_run_no_code(serve: Serve, tmp_path: Path) -> None:
    """The hash is checked on the way alone; what somebody puts into the cache is read as tensors."""
    serve(b"")
    mark, cache = tmp_path / "ran", tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(mark)!r}, 'w')",))

    torch.save({"conv1.weight": Bomb()}, cache / ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    with pytest.raises(UserError, match="could not be downloaded or read"):
        resnet18.imagenet()
    assert not mark.exists()


def load(root: Path) -> object:
    return cifar10.load_cifar10(Cifar10Config("cifar10", root=str(root), download=True), "unused")


def test_an_archive_that_was_changed_on_the_way_is_not_unpacked(serve: Serve, tmp_path: Path) -> None:
    asked = serve(b"something else")
    with pytest.raises(UserError, match="invalid hash value"):
        load(tmp_path / "data")
    assert asked == [CIFAR10.url]
    assert not list((tmp_path / "data").iterdir())


def test_an_archive_that_lies_there_damaged_is_named(serve: Serve, tmp_path: Path) -> None:
    asked = serve(b"")
    (tmp_path / CIFAR10.filename).write_bytes(b"half of it")
    with pytest.raises(UserError, match=rf"{CIFAR10.filename} there is damaged"):
        load(tmp_path)
    assert asked == []


def test_an_archive_is_downloaded_checked_and_unpacked_once(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    rows = fabricate_cifar10(made)
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(made / CIFAR10.base_folder, CIFAR10.base_folder)
    content = packed.getvalue()
    asked = serve(content)
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    for group in ("train_list", "test_list"):
        files = [
            [name, hashlib.md5((made / CIFAR10.base_folder / name).read_bytes()).hexdigest()]
            for name, _ in getattr(CIFAR10, group)
        ]
        monkeypatch.setattr(CIFAR10, group, files)
    meta = hashlib.md5((made / CIFAR10.base_folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    source = cifar10.load_cifar10(Cifar10Config("cifar10", root=str(tmp_path / "data"), download=True), "unused")
    assert asked == [CIFAR10.url]
    assert torch.equal(source.test.images, torch.from_numpy(rows[50:]).reshape(10, 3, 32, 32))
    load(tmp_path / "data")
    assert asked == [CIFAR10.url]


def test_without_https_nothing_is_tried_by_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(request: Any, *_: object, **__: object) -> None:
        asked.append(request.full_url)
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(UserError, match="no route"):
        load(tmp_path)
    assert asked == [CIFAR10.url]
