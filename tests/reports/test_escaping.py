"""Names come from folders, files and other people's runs: no page, plot or table takes one for more than a text."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from jinja2 import nodes
from matplotlib.figure import Figure

from tests.conftest import ROOT
from tlcl.reports.compare import accuracy_bars, curves
from tlcl.reports.page import pages
from tlcl.reports.plots.adaptation import embedding_maps
from tlcl.reports.plots.continual import accuracy_heatmap, cumulative_curve, task_curves
from tlcl.reports.plots.predictions import confusion_matrix, mistakes_grid
from tlcl.reports.plots.style import save_figures, without_formulas
from tlcl.reports.plots.sweep import bars, heat_map, lines, parallel_coordinates, search_history
from tlcl.reports.tables.sweep import csv_text, rows_of
from tlcl.tracking.accuracy_matrix import Measured, write_matrix
from tlcl.tracking.csv_cells import from_cell, to_cell
from tlcl.tracking.finished_run import COMPLETE
from tlcl.tracking.sweep_records import RunRecord

ATTACKS = [
    "<script>alert(1)</script>", '"><img src=x onerror="alert(1)">', "javascript:alert(1)//", "'><svg onload=a>",
]  # fmt: skip
TEMPLATES = sorted(path.name for path in (ROOT / "tlcl").rglob("*.j2"))
NO_FORMULAS = ["$x$", "a_b$", r"$\frac{$", "$$", "50 % ^_{"]


class Anything(str):
    """Stands for every value of a page: its text is the attack, and so is whatever is taken out of it."""

    def __getattr__(self, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "Anything":  # type: ignore[override]
        return self

    def __call__(self, *arguments: object) -> "Anything":
        return self

    def __iter__(self) -> Iterator["Anything"]:  # type: ignore[override]
        return iter([self, self])

    def items(self) -> Iterator[tuple["Anything", "Anything"]]:
        return iter([(self, self)])

    def values(self) -> Iterator["Anything"]:
        return iter([self])

    def __float__(self) -> float:
        return 0.5

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __mul__(self, other: object) -> float:  # type: ignore[override]
        return 0.5

    __rmul__ = __truediv__ = __rtruediv__ = __sub__ = __rsub__ = __mul__  # type: ignore[assignment]

    def __add__(self, other: object) -> str:  # type: ignore[override]
        return self

    __radd__ = __add__

    def __format__(self, form: str) -> str:
        return str.__str__(self)

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]
    __hash__ = str.__hash__


def rendered(template: str, attack: str, escape: bool = True) -> str:
    """The page with the attack as the value of every name that it reads."""
    environment = pages()
    if not escape:
        environment.autoescape = False
    value = Anything(attack)
    triples = {name: [(value, value, value)] for name in ("pairs", "figures")}
    return environment.get_template(template).render({name: value for name in known_names(template)} | triples)


def tree(template: str) -> nodes.Template:
    environment = pages()
    assert environment.loader is not None
    return environment.parse(environment.loader.get_source(environment, template)[0])


def known_names(template: str) -> set[str]:
    """Every name that this template, or one that it takes in, reads."""
    found = {node.name for node in tree(template).find_all(nodes.Name) if node.ctx == "load"}
    for node in tree(template).find_all((nodes.Extends, nodes.Include)):
        assert isinstance(node.template, nodes.Const)
        found |= known_names(node.template.value)
    return found - {"loop", "percent", "cell"}  # the loops' own, and macros


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_page_takes_a_name_for_markup(template: str, attack: str) -> None:
    page = rendered(template, attack)
    for part in ("<script>alert", "<img src=x", "<svg onload", 'onerror="', 'href="javascript:'):
        assert part not in page


def test_the_pages_were_full_of_names() -> None:
    shown = {template: rendered(template, ATTACKS[0]).count("&lt;script&gt;") for template in TEMPLATES}
    empty = {template for template, count in shown.items() if count == 0}
    assert empty <= {"page.html.j2"}  # the frame, without content of its own
    assert sum(shown.values()) > 100
    assert all("<script>alert" in rendered(name, ATTACKS[0], escape=False) for name in set(TEMPLATES) - empty)


def test_no_template_is_excepted() -> None:
    for template in TEMPLATES:
        assert not [node for node in tree(template).find_all(nodes.Filter) if node.name in ("safe", "forceescape")]
        assert not list(tree(template).find_all((nodes.ScopedEvalContextModifier, nodes.EvalContextModifier)))


def drawn() -> dict[str, Figure]:
    """Every picture that shows names of classes, tasks, methods or settings."""
    generator, count = np.random.default_rng(0), len(NO_FORMULAS)
    labels, probabilities = generator.integers(0, count, 40), generator.dirichlet(np.ones(count), 40)
    images = generator.integers(0, 255, (10, 1, 4, 4), dtype=np.uint8)
    tasks = [[name, name] for name in NO_FORMULAS]
    matrix = np.tril(generator.random((count, count))) + np.triu(np.full((count, count), np.nan), 1)
    measured = Measured(tasks, [2] * count, matrix, {})
    summary = {"status": COMPLETE, "job": "finetune", "test_acc": 0.5, "selected": {"val_acc": 0.4}, "seconds": 1.0}
    jobs = [
        RunRecord(number, Path(str(number)), {"name": name, name: name, "lr": 10.0**-number}, COMPLETE, "", summary)
        for number, name in enumerate(NO_FORMULAS)
    ]
    rows = rows_of(jobs, ["lr", "name"])
    methods = [
        {"method": name, "x": 0.5, "x_std": None, "tasks": tasks, "curves": [[0.5] * count], "runs": 1}
        for name in NO_FORMULAS
    ]
    return {
        "confusion": confusion_matrix(labels, probabilities, NO_FORMULAS),
        "mistakes": mistakes_grid(images, labels[:10], probabilities[:10], NO_FORMULAS),
        "curve": cumulative_curve(measured),
        "matrix": accuracy_heatmap(measured),
        "tasks": task_curves(measured),
        "heat_map": heat_map(rows, "name", "lr", "$"),
        "lines": lines(rows, "lr", "$"),
        "bars": bars(rows_of(jobs, ["name"]), "$"),
        "parallel": parallel_coordinates(rows, ["lr", "name"], "$"),
        "history": search_history(rows, "$"),
        "compare": accuracy_bars(methods, "x", "$"),
        "methods": curves(methods),
        "map": embedding_maps(
            {"before": generator.random((20, 2)), "after": generator.random((20, 2))},
            np.arange(20) % count, np.arange(20) % 2 == 0, NO_FORMULAS,
        ),
    }  # fmt: skip


def test_a_dollar_in_a_name_is_drawn_as_one(tmp_path: Path) -> None:
    for path in save_figures(tmp_path, drawn()):
        assert path.stat().st_size > 1000


def test_a_logarithmic_axis_keeps_its_powers() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.loglog([1, 1000], [1, 1000], label="$")
    axes.set_title("$a$")
    axes.legend()
    without_formulas(figure).canvas.draw()
    assert not axes.title.get_parse_math()
    assert all(label.get_parse_math() for label in axes.get_xticklabels())


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1", "''=1", "a", "'a'", "x=1", "-1", "+1e3", "-"],
)
def test_no_spreadsheet_takes_a_name_for_a_formula(name: str) -> None:
    cell = to_cell(name)
    assert not cell.startswith(("=", "+", "-", "@", "\t")) or name in ("-1", "+1e3")
    assert from_cell(cell) == name
    assert (cell == name) == (name in ("a", "'a'", "x=1", "-1", "+1e3"))


def test_figures_are_no_names() -> None:
    assert [to_cell(value) for value in (-0.5, None, -3, True)] == [-0.5, None, -3, True]


def test_tables_write_names_so(tmp_path: Path) -> None:
    text = csv_text([{"data.train": "=cmd", "test": -0.5}])
    assert list(csv.reader(StringIO(text)))[1] == ["'=cmd", "-0.5"]
    rows = {"rows": [[1.0]], "val_rows": [[1.0]], "untrained": [0.5]}
    write_matrix(tmp_path, tasks=[["=a"]], sizes=[1], figures={}, **rows)  # type: ignore[arg-type]
    assert (tmp_path / "accuracy_matrix.csv").read_text().splitlines()[1].startswith("'=a,")
