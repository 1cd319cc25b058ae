"""How this program was called: what usage lines and the record of a run begin with."""

import sys
from pathlib import Path

import tlcl


def called() -> str:
    """What the arguments stand after: `tlcl train`, `tlcl-train` or `python -m tlcl.train`."""
    first = Path(sys.argv[0])
    return f"python -m {_module(first)}" if first.suffix == ".py" else first.name.removesuffix(".exe")


def _module(file: Path) -> str:
    """Dotted name of a file that runs by `python -m`; of a package's own it is the package's."""
    package = Path(tlcl.__file__).parent
    if not file.resolve().is_relative_to(package):
        return f"tlcl.{file.stem}"
    name = ".".join([package.name, *file.resolve().relative_to(package).with_suffix("").parts])
    return name.removesuffix(".__main__")
