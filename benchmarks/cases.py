"""The cases that a benchmark of many hours has measured so far, in the repository, a line each.

The same command goes on from there on any machine, in as many parts as it takes. Several may run beside each other
if they measure different ones.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from benchmarks.common import file_name, progress
from benchmarks.figure import Figure
from benchmarks.register import FIGURES, here_and_now, names, write
from benchmarks.register import read as read_figure
from tlcl.errors import UserError
from tlcl.system.files import atomic_write_text, one_at_a_time

CASES = FIGURES / "cases"
RACE = "race: "  # before the name of a case: what its race came to


class Named(Protocol):
    """A case, whatever it is of."""

    @property
    def name(self) -> str: ...


Case = TypeVar("Case", bound=Named)


def answers(right: Iterable[bool] | np.ndarray) -> str:
    """Which of the test images are right, four a hexadecimal digit."""
    return np.packbits(np.array(list(right), dtype=bool)).tobytes().hex()


def rights(kept: str, images: int) -> np.ndarray:
    """bool (images,) of what `answers` wrote."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept), dtype=np.uint8))
    return bits[:images].astype(bool)


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Name of a case -> what was measured of it; empty where nothing was."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return {content.pop("case"): content for content in map(json.loads, lines)}


def keep(file: Path, case: str, found: Mapping[str, Any]) -> None:
    """One more case, in the place of one of the same name, with when and on what it was measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(tempfile.gettempdir(), f"{file_name(str(file.resolve()))}.lock")
    with one_at_a_time(lock, lambda: None):
        known = read(file)
        known[case] = {**found, "measured": here_and_now()}
        lines = [json.dumps({"case": name, **known[name]}) for name in sorted(known)]
        atomic_write_text(file, "".join(f"{line}\n" for line in lines))


def go_on(
    file: Path, cases: Iterable[tuple[str, Callable[[], Mapping[str, Any]]]], minutes: float,
    words: Callable[[Mapping[str, Any]], str],
) -> None:
    """Measure what is not kept yet; no case is begun after so many minutes.

    Args:
        cases: names, and what measures each.
        words: what is said of one that is measured.
    """
    until = time.monotonic() + 60 * minutes
    for name, measure in cases:
        if name in read(file):
            continue
        if time.monotonic() > until:
            progress(f"stopped after {minutes:g} minutes, before {name}")
            return
        found = measure()
        keep(file, name, found)
        progress(f"{name}: {words(found)}")


def add_case_options(parser: argparse.ArgumentParser, file: str) -> None:
    """What every benchmark of kept cases is asked with; figures are written of the repository's own cases alone."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--weights", type=Path, help="ResNet-18's ImageNet weights up to layer3")
    parser.add_argument("--kept", type=Path, default=CASES / file, help="what is measured goes there")
    parser.add_argument("--minutes", type=float, default=1e9, help="no case is begun after so many")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="measure these alone; no figure is written")


def named(cases: Iterable[Case], only: Sequence[str]) -> list[Case]:
    """The cases of these names.

    Raises:
        UserError: there is none of a name.
    """
    known = {case.name: case for case in cases}
    for name in only:
        if name not in known:
            raise UserError(f"--only={name!r} is none of the {len(known)} cases; one is {next(iter(known))!r}")
    return [known[name] for name in only]


def need_weights(options: argparse.Namespace, needed: bool) -> None:
    """Raises:
        UserError: the file of weights is needed and not given, or is not there.
    """
    if needed and (options.weights is None or not options.weights.is_file()):
        asked = "the file of ResNet-18's ImageNet weights up to layer3"
        raise UserError(f"--weights={options.weights} must be {asked}")


def cases_of(figure: Figure) -> tuple[int, int]:
    """How many cases a figure is of, and of how many that are planned: its first part says so."""
    said = re.match(r"(\d+) of (\d+) cases", str(figure.parts[0]))
    if said is None:
        raise ValueError(f"{figure.name} does not say of how many cases it is")
    return int(said[1]), int(said[2])


def write_own(figure: Figure, kept: Path) -> None:
    """Into the register, if it is of the cases that the repository keeps."""
    if kept.resolve().parent != CASES.resolve():
        progress(f"{figure.name} stays as it is: {kept} is not in {CASES}")
        return
    write(figure)


def write_whole(figure: Figure, kept: Path) -> None:
    """The same, unless what is there is of more cases."""
    if figure.name in names() and cases_of(read_figure(figure.name))[0] > cases_of(figure)[0]:
        progress(f"{figure.name} stays as it is: it is of more cases, some of which are not kept here")
        return
    write_own(figure, kept)


def measured(found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `Figure.measured` says of cases: of the last one, and every commit and processor."""
    kept = sorted((one["measured"] for one in found), key=lambda one: str(one["date"]))
    every = {key: ", ".join(dict.fromkeys(str(one[key]) for one in kept)) for key in ("commit", "processor")}
    return {**kept[-1], **every}
