"""docs/measured.md from `figures/pages/` and the register: `python -m benchmarks.pages`.

In a page, `{{ f("NAME", "VALUE") }}` is a number with its interval, `{{ number(...) }}` it alone,
`{{ interval(...) }}` the interval alone, `{{ table("NAME") }}` a figure's table, `{{ command("NAME") }}` what was
typed, `{{ when("NAME") }}` date, commit, machine and seeds, `{{ source("NAME") }}` where a published one is from.
"""

import argparse
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.register import FIGURES, ROOT, Value, read
from tlcl.system.files import atomic_write_text

PAGES = {"measured.md": "docs/measured.md"}


def _value(name: str, key: str) -> Value:
    return read(name).values[key]


def _number(name: str, key: str) -> str:
    one = _value(name, key)
    return Value(one.value, one.kind).text()


def _command(name: str) -> str:
    lines = "\n".join(read(name).command)
    return f"```bash\n{lines}\n```"


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
        "table": lambda name: read(name).table(),
        "command": _command,
        "when": lambda name: read(name).when(),
        "source": lambda name: read(name).source,
    }
    return environment.get_template(source).render()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is out of date")
    options = parser.parse_args()
    stale = []
    for source, target in PAGES.items():
        text, path = rendered(source), ROOT / Path(target)
        if not path.is_file() or path.read_text() != text:
            stale.append(target)
            if not options.check:
                atomic_write_text(path, text)
    print("\n".join(f"{target} {'is not up to date' if options.check else 'written'}" for target in stale))
    sys.exit(1 if options.check and stale else 0)


if __name__ == "__main__":
    main()
