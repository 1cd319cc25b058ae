"""A resumed run gives its method what it gave it before, whatever the machine has room for by then."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.conftest import go
from tests.jobs.conftest import Killed, configured, kill_at_call, same_continual
from tlcl.config.parse import parse_config
from tlcl.continual.inputs import frozen_for
from tlcl.continual.loop import TaskLoop
from tlcl.continual.methods.registry import method_class
from tlcl.distributed import leader as processes
from tlcl.errors import UserError
from tlcl.models.build import build_model

pytestmark = pytest.mark.usefixtures("undrawn")

FROZEN = ["model=small_cnn", "thaw.depth=1", "data.crop_padding=0", "data.train_size=60", "data.cache_prefix=ram"]
NO_ROOM = "data.cache_gib=0"
# After the first task, when only its last.ckpt is there, and after the second, when there is one between them too.
MOMENTS = pytest.mark.parametrize("call", [1, 3])


def inputs_of(run: Path) -> str:
    return str(json.loads((run / "summary.json").read_text())["inputs"])


def killed(path: Path, call: int, *overrides: str) -> DictConfig:
    """The config of a run by experience replay that died at a measurement; twice after each task there is one."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at_call(patch, TaskLoop, "accuracies", call)
        config = configured(path, "er", *FROZEN, *overrides)
        with pytest.raises(Killed):
            go(config)
    return config


@pytest.mark.parametrize("given", [["data.cache_gib=0", "data.cache_prefix=ram"], ["data.cache_prefix=off"]])
def test_what_cannot_be_kept_is_in_memory_for_a_closed_form(tmp_path: Path, given: list[str]) -> None:
    small = ["model=small_cnn", "data.train_size=60"]
    kept = go(configured(tmp_path / "kept", "ncm", *small, "data.cache_prefix=ram"))
    run = go(configured(tmp_path / "given", "ncm", *small, *given))
    one, two = ((path / "accuracy_matrix.json").read_text() for path in (kept, run))
    assert one == two


def test_a_closed_form_sees_no_crops_so_that_they_can_be_asked_for(tmp_path: Path) -> None:
    """Gradient methods are refused."""
    crops = ["data.crop_padding=1", "data.cache_prefix=disk", "model=small_cnn", "data.train_size=60"]
    parse_config(configured(tmp_path, "layers", *crops))
    with pytest.raises(UserError, match=r"cannot hold what data\.crop_padding=1 draws anew"):
        parse_config(configured(tmp_path, "er", *crops, "thaw.depth=1"))


def test_a_cache_that_keeps_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By a schedule whose last epoch trains more than the head, crops of which are drawn anew."""
    given = ["data.crop_padding=1", "data.crop_head=false", "data.cache_prefix=ram", "model=small_cnn"]
    late = ["thaw=milestones", "thaw.depth=null", "+thaw.0=0", "+thaw.1=1"]
    for thaw, said in ((late, True), (["thaw.depth=0"], False)):
        caplog.clear()
        config = parse_config(configured(tmp_path, "er", *given, *thaw, "trainer.epochs=2", "data.train_size=60"))
        net, _ = build_model(config.model, 10, 0)
        frozen_for(config, net, method_class(config.method))
        assert ("cache_prefix=ram keeps nothing" in caplog.text) == said


@MOMENTS
def test_begun_on_images_it_goes_on_with_images(tmp_path: Path, call: int) -> None:
    whole = go(configured(tmp_path / "whole", "er", *FROZEN, NO_ROOM))
    config = killed(tmp_path, call, NO_ROOM)
    config.data.cache_gib = None
    resumed = go(config)
    assert inputs_of(resumed) == "images"
    same_continual(whole, resumed)


@MOMENTS
def test_begun_on_outputs_it_says_what_is_missing(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(configured(tmp_path / "whole", "er", *FROZEN))
    assert inputs_of(whole).startswith("outputs of layer2")
    config = killed(tmp_path, call)
    config.data.cache_gib = 0
    with pytest.raises(UserError, match=r"began on outputs of layer2.*make room in cache_dir="):
        go(config)
    monkeypatch.setattr(processes, "_others", lambda *_: pytest.fail("other processes were begun"))
    config.data.cache_gib, config.data.cache_prefix, config.trainer.devices = None, "auto", 2
    with pytest.raises(UserError, match=r"one process works alone; add trainer.devices=1"):
        go(config)
    config.trainer.devices = 1
    same_continual(whole, go(config))


def test_another_runs_checkpoint_is_named(tmp_path: Path) -> None:
    """Of another network; between tasks, and within one, where it is for Lightning to load."""
    config = killed(tmp_path, 3)
    checkpoints = tmp_path / "run" / "checkpoints"
    own = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    others = {
        "between_tasks.ckpt": killed(tmp_path / "first", 3, "model=resnet18", "thaw.depth=2"),
        "last.ckpt": killed(tmp_path / "second", 1, "model=resnet18", "thaw.depth=2"),
    }
    for name, other in others.items():
        for path in checkpoints.iterdir():
            path.unlink()
        (checkpoints / name).write_bytes((Path(other.run_dir) / "checkpoints" / name).read_bytes())
        with pytest.raises(UserError, match=f"{name} does not fit this run's config.yaml.*own checkpoint back"):
            go(config)
    for name, content in own.items():
        (checkpoints / name).write_bytes(content)
    go(config)  # nothing was changed because of another's
