"""What a run keeps of its calibration and of each test image, read back as it was written or refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import refusal
from tests.tracking.test_fuzz_records import JSON
from tlcl.tracking.calibration import Calibration, read_calibration, write_calibration
from tlcl.tracking.image_table import read_test_images, write_test_table
from tlcl.tracking.records import RunDirectory


@pytest.mark.parametrize(
    "kept",
    [
        Calibration(1.25, None, 3, "validation images", (0.1, 0.30000000000000004, 1.0)),
        Calibration(None, "3 held-out images are too few, it takes 20", 3, "validation images", (0.0, 0.5, 0.5)),
    ],
)
def test_what_is_kept_is_read_back(kept: Calibration, tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == Calibration()
    directory = RunDirectory(tmp_path, resume=False)
    write_calibration(directory, kept)
    assert read_calibration(tmp_path) == kept
    directory.close()


def test_without_a_temperature_nothing_is_changed() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)
    assert Calibration().calibrated(probabilities) is probabilities


WHOLE = {"temperature": 2.0, "reason": None, "images": 1, "held_out": "a", "scores": [0.5]}


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(WHOLE, JSON)) | JSON)
@example({**WHOLE, "temperature": -1})
@example({**WHOLE, "temperature": float("inf")})
@example({**WHOLE, "scores": [0.5, 0.2]})
@example({**WHOLE, "scores": [2]})
@example({**WHOLE, "scores": [float("nan")]})
def test_a_damaged_file_is_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.getbasetemp()
    (path / "calibration.json").write_text(json.dumps(content))
    said = refusal(lambda: read_calibration(path))
    if said is not None:
        assert "calibration.json is damaged" in said
        return
    found = read_calibration(path)
    assert found.temperature is None or 0 < found.temperature < float("inf")
    assert list(found.scores) == sorted(found.scores)
    assert all(0 <= score <= 1 for score in found.scores)


def test_damage_is_seen(tmp_path: Path) -> None:
    for change in ({"temperature": 0}, {"scores": [0.5, 0.2]}, {"scores": [2]}, {"scores": [float("nan")]}):
        (tmp_path / "calibration.json").write_text(json.dumps({**WHOLE, **change}))
        assert refusal(lambda: read_calibration(tmp_path)) is not None


def test_a_row_for_each_test_image(tmp_path: Path) -> None:
    names = ["=cmd.png", "a,b.png", 'say "x".png', "\udcff.png"]
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])
    write_test_table(tmp_path, names, np.array([0, 2, 2, 1]), probabilities, ["-1", "+x", "c"])
    with open(tmp_path / "test_predictions.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "label", "prediction", "confidence"]
    assert rows[1:] == [
        ["'=cmd.png", "-1", "-1", "0.500000"],
        ["a,b.png", "c", "'+x", "0.800000"],
        ['say "x".png', "c", "c", "0.600000"],
        ["\\udcff.png", "'+x", "-1", "0.400000"],
    ]
    assert read_test_images(tmp_path) == [*names[:3], "\\udcff.png"]
    write_test_table(tmp_path, (), np.array([0, 2, 2, 1]), probabilities, ["-1", "+x", "c"])
    assert read_test_images(tmp_path) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("content", [b"", b"x\n1\n", b"\xff\xfe", b'image\n"a', b"label,image\na\n"])
def test_a_damaged_table_is_none(content: bytes, tmp_path: Path) -> None:
    assert read_test_images(tmp_path) == []
    (tmp_path / "test_predictions.csv").write_bytes(content)
    assert read_test_images(tmp_path) == []
