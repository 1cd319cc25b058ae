"""Rows below each other as a terminal shows them."""

import pytest

from tlcl.system.text import aligned_rows, columns_wide


@pytest.mark.parametrize(("text", "wide"), [("", 0), ("cat", 3), ("猫", 2), ("e\u0301", 1), ("é", 1)])
def test_columns_are_those_of_a_terminal(text: str, wide: int) -> None:
    assert columns_wide(text) == wide


def test_cells_are_below_each_other() -> None:
    rows = [["file", "class", "sure"], ["猫.png", "a", "9 %"], ["b.png", "", ""]]
    assert aligned_rows(rows, right=(2,)) == [
        "file    class  sure",
        "猫.png  a       9 %",
        "b.png",
    ]
