"""`tlcl depth PHOTOS` is `tlcl train +experiment=how_deep data.train=PHOTOS`, whatever the path."""

import sys

import pytest

from tlcl import train
from tlcl.commands import depth
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []
    monkeypatch.setattr(train, "main", lambda: seen.append(list(sys.argv)))
    return seen


PATHS = ["photos", "my photos, 2=1", "größe [1]", 'a"b', "back\\slash", "two\\\\of", 'a\\"b', "a\\", "it's", "$x"]


@pytest.mark.parametrize("path", PATHS)
def test_any_path_arrives(path: str, called: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tlcl depth", path, "--test", path, "depth.folds=3", "logger=none"])
    depth.main()
    assert called[0][0] == "tlcl train"
    config = parse_config(composed_config(called[0][1:]))
    assert (vars(config.data)["train"], vars(config.data)["test"]) == (path, path)
    assert config.depth is not None
    assert (config.depth.folds, config.name) == (3, "how_deep")


@pytest.mark.parametrize("program", ["tlcl-depth", "tlcl depth"])
def test_it_says_what_it_stands_for(
    program: str, called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [program, "photos"])
    depth.main()
    assert called == [["tlcl train", "+experiment=how_deep", 'data.train="photos"']]


def test_photos_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["tlcl depth"])
    with pytest.raises(SystemExit) as left:
        depth.main()
    assert left.value.code == 2
    assert "PHOTOS" in capsys.readouterr().err
