"""The register of figures: pages are rendered from it, each figure says how it was measured, nothing is typed."""

import json
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from benchmarks import pages, record
from benchmarks.figure import Figure, Table, Value, parts_of
from benchmarks.register import FIGURES, ROOT, hashes, names, read, write

# Commands, what the register fills in, addresses, licences, and the level of an interval.
NOT_MEASURED = re.compile(
    r"```bash\n.*?```|\{\{\s*\w+\(.*?\}\}|\]\([^)]*\)|Apache-2\.0|AGPL-3\.0|"
    r"95 %(?=,?\s(?:intervals?|paired)|\))", re.S,
)  # fmt: skip
CODE = re.compile(r"`[^`\n]*`")
WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|ninety|hundred|"
    "thousand|an?"
)
NUMBER = rf"(?:\d[\d,]*(?:\.\d+)?|\.\d+|\b(?:{WORDS})\b)"
UNITS = (
    r"(?:%|percent|per\scent|pp|points?|seconds?|s|ms|min|minutes?|h|hours?|days?|[KMG]i?B|img/s|images/s|times|x|×)"
    r"(?![\w-])"
)
MEASURED = re.compile(
    rf"(?<![\w.#-])(?:[-+]?{NUMBER})(?:\s*(?:-|–|to|and|or)\s*{NUMBER})?(?:\s|&nbsp;|-)*{UNITS}"
    rf"|\d\.\d|\bp\s*[=<>]\s*\.?\d|{NUMBER} of (?:the |all )?{NUMBER}\b", re.I
)  # fmt: skip
CELL = re.compile(r"[-+±]?\s*\d[\d.,]*\s*%?|±.*")


def typed(page: str) -> list[str]:
    """What in the source of a page looks like a figure, and is not filled in from the register."""
    text = NOT_MEASURED.sub("", page)
    text = CODE.sub(lambda code: code[0] if re.search(rf"\d\s?{UNITS}", code[0]) else "", text)
    found = [match[0] for match in MEASURED.finditer(text)]
    lines = text.split("\n")
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not after.startswith("|--"):
            found += [cell for cell in map(str.strip, line.strip("|").split("|")[1:]) if CELL.fullmatch(cell)]
    return found


@pytest.mark.parametrize(("source", "target"), pages.PAGES.items())
def test_the_pages_are_up_to_date(source: str, target: str) -> None:
    assert (ROOT / target).read_text() == pages.rendered(source), "python -m benchmarks.pages"


@pytest.mark.parametrize("source", pages.PAGES)
def test_no_figure_is_typed(source: str) -> None:
    """Outside of commands, every number with a unit or decimals comes from the register."""
    assert typed((FIGURES / "pages" / source).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 93.1 %.", "in 12 s", "-1.2 points", "## Reaches 93 % at last", "`93.1 %`", "93 percent",
        "ninety per cent", "12 pp", "one point better", "12x as fast", "34 ms", "390 MB", "3,500 img/s", "5 min",
        "1 hour", "1-2 %", "0–93%", "p = .03", "93&nbsp;%", "95 % of the images", "93 of 100",
        "three of the twenty", "about a minute", "six times as long", "```text\n93.1 %\n```", '{{ "93.1 %" }}',
        "| er | ± 3 |", "| a | b |\n|---|---|\n| er | 93 |", "![from 91.6 % to 19.7 %](a.png)",
    ],
)  # fmt: skip
def test_a_typed_figure_would_be_found(text: str) -> None:
    assert typed(text)


@pytest.mark.parametrize(
    "text",
    [
        "ResNet-18 at 128 pixels, seeds 0 to 2, Kumar et al. 2022, CIFAR-10", "with 95 % intervals", "(95 %)",
        "`0.75`", '{{ cell("a", "less head (95 %)", "50") }} points', "```bash\ntlcl train optim.lr=0.1\n```",
        "| after task | 1 | 2 |\n|---|---|---|", "[five splits](page-1.5.md)", "each dot is a setting",
    ],
)  # fmt: skip
def test_what_is_no_figure_is_none(text: str) -> None:
    assert typed(text) == []


@pytest.mark.parametrize("name", names())
def test_a_figure_says_how_it_was_measured(name: str) -> None:
    figure = read(name)
    assert figure.name == name
    assert figure.values or figure.parts
    assert figure.source or (figure.command and {"date", "commit", "versions"} <= set(figure.measured))
    assert all(len(one) == 64 for one in (*figure.data.values(), *figure.weights.values()))
    for table in (part for part in figure.parts if isinstance(part, Table)):
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert not any("**" in cell for row in table.texts() for cell in row), "nothing is a winner without a test"
    used = "".join((FIGURES / "pages" / source).read_text() for source in pages.PAGES)
    assert f'"{name}"' in used, "no page shows it"


def test_values_are_written_with_their_intervals() -> None:
    assert Value(0.7766, "percent", 0.768, 0.785).text() == "77.7 % (76.8 to 78.5 %)"
    assert Value(0.012, "signed", -0.004, 0.029).text() == "+1.2 (-0.4 to +2.9)"
    assert Value(0.915, "points", spread=0.004).text() == "91.5 ± 0.4"
    assert Value(72, "seconds").text() == "1 min 12 s"
    assert Value(11400, "count").text() == "11,400"


def test_a_figure_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"abc")
    figure = Figure(
        "one", ("tlcl train",), (0, 1), hashes(tmp_path, ["images.tar"]),
        values={"test": Value(0.5, "percent", 0.4, 0.6)},
        parts=("One.", Table(("method", "test"), (("er", Value(0.9, spread=0.1)),))),
        measured={"date": "2026-11-29"},
    )  # fmt: skip
    path = write(figure, tmp_path)
    assert read("one", tmp_path) == figure
    assert json.loads(path.read_text())["data"]["images.tar"].startswith("ba7816bf")  # of FIPS 180-2, appendix B.1
    lines = ["| method |        test |", "| ------ | ----------: |", "| er     | 90.0 ± 10.0 |"]
    assert figure.table().markdown().split("\n") == lines
    with pytest.raises(KeyError, match="there is no figure two"):
        read("two", tmp_path)


SECTION = """Two images, 3 rounds.

| loop | batch | s median | tlcl / it |
| ---- | ----- | -------: | --------: |
| tlcl | 32    |     1.50 |      1.00 |
| bare | 32    |     3.00 |      0.50 |
| bare | 64    |     2.00 |           |

The last losses are alike."""


def test_a_benchmark_is_kept_and_written_as_it_printed() -> None:
    figure = Figure("benchmark_one", (), parts=parts_of(SECTION))
    assert [type(part) for part in figure.parts] == [str, Table, str]
    assert figure.table().cell(("bare", "64"), "s median") == "2.00"
    assert figure.table().cell(("tlcl",), "tlcl / it") == "1.00"
    assert parts_of(figure.text()) == figure.parts
    with pytest.raises(KeyError, match="no row begins with bare, 128"):
        figure.table().cell(("bare", "128"), "s median")
    with pytest.raises(KeyError, match="no column 's'; there are loop, batch"):
        figure.table().cell(("bare",), "s")


def test_a_benchmark_is_recorded_with_the_hashes_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.tar").write_bytes(b"abc")
    monkeypatch.setattr(record, "write", lambda figure: kept.append(figure) or tmp_path)
    kept: list[Figure] = []
    record.record(record.load("finetune"), SECTION, ["--tar", str(tmp_path / "train.tar"), "--rounds", "1"])
    (figure,) = kept
    assert figure.name == "benchmark_finetune"
    assert figure.command == ("python -m benchmarks.finetune --tar train.tar --rounds 1",)
    assert figure.data["train.tar"].startswith("ba7816bf")  # of FIPS 180-2, appendix B.1
    assert figure.parts == parts_of(SECTION)
    assert {"date", "commit", "facts", "threads"} <= set(figure.measured)


def test_a_page_cannot_name_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pages").mkdir()
    monkeypatch.setattr(pages, "FIGURES", tmp_path)
    for text, error in (('{{ f("no", "x") }}', KeyError), ("{{ typo }}", UndefinedError)):
        (tmp_path / "pages" / "page.md").write_text(text)
        with pytest.raises(error):
            pages.rendered("page.md")
