"""What the network sees of stored images: their own size by default, and a line where another is given."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import composed
from tlcl.config.parse import parse_config
from tlcl.jobs.remarks import resized_words, taught_size_words

FOLDER = ["data=image_folder", "data.train=/images"]


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        (["data=digits"], 32),
        (["data=digits", "model=efficientnet_lite0", "model.weights=imagenet"], 96),
        ([*FOLDER, "data.size=128"], 128),
        ([*FOLDER, "data.size=8"], 32),
        ([*FOLDER, "data.size=64", "model=efficientnet_lite0"], 96),
        ([*FOLDER, "data.size=224", "model=efficientnet_lite0"], 224),
        ([*FOLDER, "data.size=128", "model.input_size=48"], 48),
        (["+experiment=own_images", "data.train=/images"], 128),
        (["+experiment=own_images", "data.train=/images", "data.size=160"], 160),
    ],
)
def test_the_network_sees_what_is_stored_unless_it_is_told_otherwise(
    tmp_path: Path, keys: list[str], size: int
) -> None:
    assert parse_config(composed(tmp_path, *keys)).model.input_size == size


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["data.size=128", "model.input_size=32"], "are reduced to model.input_size=32 .*input_size=128 keeps"),
        (["data.size=64", "model.input_size=96"], "are enlarged to model.input_size=96 .*data.size=96 keeps"),
        (["data.size=64"], "^$"),
    ],
)
def test_another_size_is_said(tmp_path: Path, keys: list[str], words: str) -> None:
    config = parse_config(composed(tmp_path, *FOLDER, *keys))
    assert re.search(words, resized_words(config))


@pytest.mark.parametrize(("taught", "words"), [(224, "input_size=224 goes on as it was trained$"), (32, "^$")])
def test_a_run_that_saw_another_size_is_told(tmp_path: Path, taught: int, words: str) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"input_size": taught}))
    config = parse_config(composed(tmp_path, "data=digits", f"model.weights={tmp_path}"))
    assert config.model.input_size == 32
    assert re.search(words, taught_size_words(config))


def test_other_weights_have_no_size(tmp_path: Path) -> None:
    assert taught_size_words(parse_config(composed(tmp_path, "data=digits"))) == ""
