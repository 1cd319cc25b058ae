"""Which similarities are drawn."""

import json
from pathlib import Path
from typing import Any

from tlcl.reports.plots.cka import comparable_blocks, left_out
from tlcl.reports.plots.training import save_plots


def test_what_was_frozen_throughout_says_nothing() -> None:
    """Up to the first trained block 1 is certain; a frozen block behind it is given something else than before."""
    blocks = {"stem": 1.0, "layer1": 1.0, "layer2": 0.8, "layer3": 0.7}
    record: dict[str, Any] = {"cka": {"images": 20, "blocks": blocks}, "trained_blocks": ["layer2", "head"]}
    assert comparable_blocks(record) == {"layer2": 0.8, "layer3": 0.7}
    assert left_out(record) == 2
    record["trained_blocks"] = ["head"]
    assert (comparable_blocks(record), left_out(record)) == ({}, 4)
    assert (comparable_blocks({"cka": None}), left_out({})) == ({}, 0)


def test_a_picture_that_says_nothing_is_taken_away(tmp_path: Path) -> None:
    """Also one that an earlier version drew."""
    record = {"cka": {"images": 20, "blocks": {"stem": 1.0, "layer1": 0.5}}, "trained_blocks": ["layer1", "head"]}
    (tmp_path / "summary.json").write_text(json.dumps(record))
    assert [path.name for path in save_plots(tmp_path)] == ["cka.png"]
    (tmp_path / "summary.json").write_text(json.dumps({**record, "trained_blocks": ["head"]}))
    assert save_plots(tmp_path) == []
    assert not (tmp_path / "plots" / "cka.png").exists()
