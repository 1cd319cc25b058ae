"""One domain of a folder of domains: folders and archives, the sentence about one that is not there, a run."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import composed, go
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.data.image_tensors import Source
from tlcl.data.sources.domains import names_of
from tlcl.data.sources.registry import load_source, load_target
from tlcl.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders and an archive of two classes, and what is no domain."""
    root = tmp_path_factory.mktemp("domains")
    for domain, level in (("photo", 40), ("art painting", 120), ("sketch", 200)):
        for label, change in (("cat", 0), ("dog", 30)):
            folder = root / domain / label
            folder.mkdir(parents=True)
            for number in range(10):
                noise = np.random.default_rng(number).integers(0, 20, (16, 16, 3))
                Image.fromarray((noise + level + change).astype(np.uint8)).save(folder / f"{number}.png")
    with tarfile.open(root / "sketch.tar.gz", "w:gz") as archive:
        for label in ("cat", "dog"):
            archive.add(root / "sketch" / label, label)
    for path in sorted((root / "sketch").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "sketch").rmdir()
    (root / ".hidden").mkdir()
    (root / "README.txt").write_text("no domain")
    return root


def config_of(root: Path, domain: str, *more: str) -> Any:
    given = ["data=domains", f"data.root={root}", f"data.domain='{domain}'", "data.size=16", *more]
    return parse_config(composed_config([*given, "logger=none"])).data


def test_domains_are_folders_and_archives_by_their_names(root: Path) -> None:
    assert list(names_of(root)) == ["art painting", "photo", "sketch"]


@pytest.mark.parametrize(("domain", "level"), [("photo", 40), ("art painting", 120), ("sketch", 200)])
def test_a_domain_is_its_images_and_no_others(root: Path, tmp_path: Path, domain: str, level: int) -> None:
    source: Source = load_source(config_of(root, domain), str(tmp_path))
    assert source.pool.classes == ("cat", "dog")
    assert (len(source.pool), len(source.test)) == (16, 4)
    for part in (source.pool, source.test):
        means = part.images.double().mean((1, 2, 3)) - part.labels * 30
        assert torch.all((means - level - 9.5).abs() < 2)


def test_a_target_may_be_without_labels(root: Path, tmp_path: Path) -> None:
    target = load_target(config_of(root, "photo", "data.labels=none"), str(tmp_path), ("cat", "dog"))
    assert not target.pool.labelled
    assert len(target.pool) == 20


def test_what_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.domain=clipart is not in .* are: art painting, photo, sketch$"):
        load_source(config_of(root, "clipart"), str(tmp_path))
    with pytest.raises(UserError, match=r"data\.root=.* must be a folder of domains.*No such file"):
        load_source(config_of(root / "nowhere", "photo"), str(tmp_path))


def test_from_one_domain_to_another(root: Path, tmp_path: Path) -> None:
    path = go(
        composed(
            tmp_path, "data=domains", f"data.root={root}", "data.domain=sketch", "data@source=domains",
            f"source.root={root}", "source.domain=photo", "adaptation=mcc", "model=small_cnn",
            "model.input_size=16", "thaw=all", "trainer.epochs=1", "trainer.select=last", "data.train_size=null",
            *(f"{side}.{key}" for side in ("data", "source") for key in ("size=16", "val_size=4", "batch_size=4")),
        )
    )  # fmt: skip
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["source"], summary["target"]) == ("photo", "sketch")
    assert (summary["source_train_size"], summary["train_size"], summary["test_size"]) == (12, 12, 4)
