"""One domain of a folder of domains: folders and archives, the sentence about one that is not there, a run."""

import json
import os
import shutil
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import composed, go
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.continual.stream import Stream, build_stream
from tlcl.data.image_tensors import Source
from tlcl.data.sources.domains import names_of
from tlcl.data.sources.registry import load_source, load_target
from tlcl.errors import UserError
from tlcl.explain.neighbours import training_images
from tlcl.security.untrusted import recorded_config


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


def adaptation(root: Path, tmp_path: Path, source: str, target: str) -> Any:
    sides = [f"{side}.{key}" for side in ("data", "source") for key in (f"root={root}", "size=16", "val_size=4")]
    return composed(
        tmp_path, "data=domains", "data@source=domains", *sides, f"source.domain={source}", f"data.domain={target}",
        "adaptation=mcc", "model=small_cnn", "trainer.select=last", "data.train_size=null",
    )  # fmt: skip


def test_mistakes_with_domains_name_the_key_and_leave_paths_alone(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.domain and data\.domain are both sketch"):
        go(adaptation(root, tmp_path, "sketch", "sketch"))
    inside = tmp_path / "data.root" / "data.v2"
    shutil.copytree(root, inside)
    with pytest.raises(UserError) as told:
        go(adaptation(inside, tmp_path, "clipart", "sketch"))
    assert f"source.domain=clipart is not in data.root={inside}; there are" in str(told.value)
    shutil.rmtree(inside / "photo" / "dog")
    (inside / "photo" / "cat").rename(inside / "photo" / "bird")
    shutil.copytree(inside / "photo" / "bird", inside / "photo" / "dog")
    with pytest.raises(UserError, match=r"source\.domain=photo and data\.domain=sketch need the same .*bird"):
        go(adaptation(inside, tmp_path, "photo", "sketch"))


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


def stream_config(root: Path, *more: str) -> Any:
    given = ["+experiment=continual_pacs", f"data.root={root}", "data.domains=[]", "data.size=16", *more]
    return parse_config(composed_config([*given, "continual.classes_per_task=2", "logger=none"]))


def test_a_stream_of_domains_has_the_images_of_each(root: Path, tmp_path: Path) -> None:
    """Pool and test set are those of the domains by themselves, one after another, as asked for."""
    order = ["sketch", "art painting", "photo"]
    stream: Source = load_source(stream_config(root, f"data.domains={order}".replace("'", '"')).data, str(tmp_path))
    assert stream.domains == tuple(order)
    assert stream.pool.classes == tuple(f"{domain}/{name}" for domain in order for name in ("cat", "dog"))
    for side in ("pool", "test"):
        apart = [getattr(load_source(config_of(root, domain), str(tmp_path)), side) for domain in order]
        whole = getattr(stream, side)
        assert torch.equal(whole.images, torch.cat([one.images for one in apart]))
        labels = torch.cat([one.labels + 2 * number for number, one in enumerate(apart)])
        assert torch.equal(whole.labels, labels)
        assert whole.names == tuple(f"{name}/{file}" for name, one in zip(order, apart, strict=True)
                                    for file in one.names)  # fmt: skip
        assert torch.equal(whole.digests, torch.cat([one.digests for one in apart]))


def test_each_task_is_a_domain_with_the_same_outputs(root: Path, tmp_path: Path) -> None:
    config = stream_config(root)
    source = load_source(config.data, str(tmp_path))
    stream = build_stream(source, config.continual, train_size=None, val_size=6, seed=0)
    names = [[stream.names[label] for label in task.members] for task in stream.tasks]
    domains = ("art painting", "photo", "sketch")
    assert names == [[f"{domain}/{name}" for name in ("cat", "dog")] for domain in domains]
    assert stream.source.pool.classes == ("cat", "dog")
    assert [task.outputs for task in stream.tasks] == [(0, 1)] * 3
    is_dog = torch.tensor(["/dog/" in name for name in stream.source.pool.names])
    assert torch.equal(stream.source.pool.labels == 1, is_dog)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("continual=class_incremental", "continual.scenario=class_incremental must be domain_incremental with"),
        ("continual.classes_per_task=3", "continual.classes_per_task=3 must be 2 with data=domain_stream"),
        ("continual.class_order=shuffled", "continual.class_order=shuffled must be given with"),
        ("data.domains=[photo,clipart]", "data.domains names clipart, which is not in"),
        ("data.domains=[photo,photo]", "data.domains names photo twice"),
        ("data.domains=[photo]", "needs two domains at least; data.domains=['photo'] has 1"),
        ("data.labels=none", "data.labels=none is for the target of an adaptation"),
    ],
)
def test_no_other_stream(root: Path, tmp_path: Path, given: str, sentence: str) -> None:
    config = parse_config(composed_config([
        "+experiment=continual_pacs", f"data.root={root}", "data.domains=[]", "data.size=16",
        "continual.classes_per_task=2", "logger=none", given,
    ]))  # fmt: skip

    def stream() -> Stream:
        source = load_source(config.data, str(tmp_path))
        assert config.continual is not None
        return build_stream(source, config.continual, train_size=None, val_size=6, seed=0)

    with pytest.raises(UserError) as raised:
        stream()
    assert sentence in str(raised.value)


def test_domains_of_a_stream_have_the_same_classes(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    for domain, names in (("a", ("cat", "dog")), ("b", ("cat", "ox"))):
        for name in names:
            (other / domain / name).mkdir(parents=True)
            for number in range(5):
                noise = np.random.default_rng(number).integers(0, 200, (16, 16, 3))
                Image.fromarray(noise.astype(np.uint8)).save(other / domain / name / f"{number}.png")
    with pytest.raises(UserError, match=r"here they differ: only in a \['dog'\], only in b \['ox'\]"):
        load_source(stream_config(other).data, str(tmp_path))


def test_what_is_no_domain_is_left_out_or_named(root: Path, tmp_path: Path) -> None:
    """What systems leave behind is none; another folder is named, with the key that says which are meant."""
    other = tmp_path / "others"
    shutil.copytree(root, other)
    for name in ("__MACOSX", "@eaDir", ".git"):
        (other / name).mkdir(exist_ok=True)
    assert list(names_of(other)) == ["art painting", "photo", "sketch"]
    (other / "lists").mkdir()
    with pytest.raises(UserError, match=r"the domain lists: .*; data\.domains=\[\.\.\.\] names those"):
        load_source(stream_config(other).data, str(tmp_path))


def test_names_of_domains_have_one_form(root: Path, tmp_path: Path) -> None:
    """As a Mac writes them, or with a byte that is no letter: found by either spelling, and printable."""
    other = tmp_path / "others"
    decomposed = unicodedata.normalize("NFD", "málaga")
    for name in (decomposed, os.fsdecode(b"caf\xe9")):
        shutil.copytree(root / "photo", other / name)
    known = list(names_of(other))
    assert "málaga" in known
    assert all(name.encode() for name in known)
    order = f'data.domains=["{decomposed}","{next(name for name in known if name.startswith("caf"))}"]'
    assert load_source(stream_config(other, order).data, str(tmp_path)).domains[0] == "málaga"
    one = config_of(other, decomposed)
    assert load_source(one, str(tmp_path)).pool.classes == ("cat", "dog")


@pytest.mark.parametrize("group", ["data", "data@source"])
def test_a_stream_is_for_continual_learning(root: Path, group: str) -> None:
    given = ["data=digits", f"{group}=domain_stream", f"{group.removeprefix('data@')}.root={root}", "logger=none"]
    adapted = ["adaptation=dann"] if group == "data@source" else []
    with pytest.raises(UserError, match=f"{group}=domain_stream is for continual learning"):
        parse_config(composed_config([*(given if adapted else given[1:]), *adapted]))


def test_forgetting_from_domain_to_domain(root: Path, tmp_path: Path) -> None:
    path = go(
        composed(
            tmp_path, "+experiment=continual_pacs", f"data.root={root}", "data.domains=[]", "data.size=16",
            "model=small_cnn", "model.input_size=16", "thaw=all", "method=slda", "continual.classes_per_task=2",
            "data.train_size=null", "data.val_size=6", "data.batch_size=4",
        )
    )  # fmt: skip
    summary = json.loads((path / "summary.json").read_text())
    assert summary["tasks"][0] == ["art painting/cat", "art painting/dog"]
    assert (summary["test_size"], summary["classes"]) == (12, 2)
    assert "<td>art painting</td>" in (path / "report.html").read_text()
    assert json.loads((path / "labels.json").read_text())["classes"] == ["cat", "dog"]
    assert (path / "accuracy_matrix.csv").read_text().startswith(
        "after training,accuracy on art painting,accuracy on photo,accuracy on sketch\n"
    )
    (domains,) = training_images(parse_config(recorded_config(path)), path)
    assert domains.classes == ("cat", "dog")
    is_dog = torch.tensor(["/dog/" in name for name in domains.names])
    assert torch.equal(domains.labels == 1, is_dog)


def test_a_model_of_one_domain_goes_through_all(root: Path, tmp_path: Path) -> None:
    """Its trained head stays: the classes are the same."""
    shared = ["data.size=16", "model=small_cnn", "model.input_size=16", "data.train_size=null", "data.val_size=4",
              "data.batch_size=4", "thaw=all"]  # fmt: skip
    first = go(
        composed(tmp_path / "first", "data=domains", f"data.root={root}", "data.domain=photo", "trainer.epochs=1",
                 "model.weights=none", *shared)
    )  # fmt: skip
    path = go(
        composed(
            tmp_path / "then", "+experiment=continual_pacs", f"data.root={root}", "data.domains=[photo,sketch]",
            "continual.classes_per_task=2", "continual.head=kept", f"model.weights={first}", "trainer.epochs=1",
            *shared,
        )
    )  # fmt: skip
    assert json.loads((path / "summary.json").read_text())["weights"]["head"] == "kept"
