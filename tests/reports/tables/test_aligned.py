"""A comparison's table in a terminal."""

from typing import Any

from tlcl.config.kinds import NAMED
from tlcl.reports.compare import COLUMNS
from tlcl.reports.tables.aligned import WIDTH, aligned
from tlcl.reports.tables.compare import gap_closed


def row(method: str, runs: int = 2, **figures: float | None) -> dict[str, Any]:
    spread = {f"{key}_std": None if value is None else value / 10 for key, value in figures.items()}
    return {"method": method, "runs": runs, "planned": 2, "seconds": 1.0, **figures, **spread}


def test_figures_stand_in_columns() -> None:
    rows = [
        row("target_oracle", test_acc=0.9, source_test_acc=0.5, a_distance=1.5),
        row("coral", test_acc=0.6, source_test_acc=0.25, a_distance=0.25),
        row("source_only", test_acc=0.5, source_test_acc=1.0, a_distance=2.0),
        row("dann", runs=0, test_acc=None, source_test_acc=None, a_distance=None),
    ]
    assert aligned(rows, COLUMNS, gap_closed(rows)).splitlines() == [
        "in %: mean ± standard deviation over 2 seeds",
        "method             target        source  of the gap       proxy    runs",
        "                                             closed  A-distance",
        "                                                          (0-2)",
        "target_oracle  90.0 ± 9.0    50.0 ± 5.0         100        1.50  2 of 2",
        "coral          60.0 ± 6.0    25.0 ± 2.5          25        0.25  2 of 2",
        "source_only    50.0 ± 5.0  100.0 ± 10.0           0        2.00  2 of 2",
        "dann                    -             -           -           -  0 of 2",
    ]


def test_all_figures_of_continual_learning_fit_beside_a_long_name() -> None:
    figures = dict.fromkeys(NAMED["continual"].compared, -0.123)
    text = aligned([row("er buffer_size=500 " + "x" * 90, **figures)], COLUMNS)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.replace(" ", "").count("x") == 90
    for heading in ("forgetting", "confidence", "average", "at the end", "task given"):
        assert heading in text
    assert text.count("-12.3 ± -1.2") == 5


def test_nothing_that_steers_the_terminal_is_written() -> None:
    text = aligned([row("er\x1b[2J", test_acc=0.5, source_test_acc=None, a_distance=None)], COLUMNS)
    assert "\x1b" not in text


def test_no_rows_no_table() -> None:
    assert aligned([], COLUMNS) == ""
