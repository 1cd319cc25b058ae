"""Relative paths are below the folder in which a run was begun."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tlcl.errors import UserError
from tlcl.tracking.begun_in import check_folder
from tlcl.tracking.environment import environment


def begun(there: Path, run: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run, begun in a folder with folders of these names."""
    for folder in (*(there / name for name in names), run):
        folder.mkdir(parents=True)
    monkeypatch.chdir(there)
    (run / "environment.json").write_text(json.dumps(environment(0)))


def test_the_folder_is_named_from_which_paths_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, run = tmp_path / "there", tmp_path / "run"
    begun(there, run, ["photos", "digits"], monkeypatch)
    data = {"source": "image_folder", "train": "photos", "test": None}
    config = OmegaConf.create({"data": data, "name": "photos"})
    check_folder(run, config)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"was begun in {there}, where data\.train='photos' is; give the"):
        check_folder(run, config)
    (tmp_path / "photos").mkdir()  # as when both were moved
    check_folder(run, config)
    config.data = {"source": "digits", "train": str(there / "photos"), "test": "nowhere"}
    check_folder(run, config)
    (run / "environment.json").write_text("{}")  # of before
    config.data.train = "elsewhere"
    check_folder(run, config)


def test_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, run = tmp_path / "there", tmp_path / "run"
    begun(there, run, ["imagenet", "text"], monkeypatch)
    monkeypatch.chdir(tmp_path)
    data = {"source": "image_folder", "sort_classes": "text", "classes": ["text"], "train": "x" * 300}
    check_folder(run, OmegaConf.create({"data": data, "model": {"weights": "imagenet"}}))
