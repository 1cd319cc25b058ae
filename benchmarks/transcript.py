"""What the commands for one's own photos print, on ants and bees: the text that README and docs show.

Each is a process of its own with an empty cache. Left out are lines that say what is being done,
and of each training all epochs but the first; long lines are wrapped, paths and dates become words.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Benchmark, progress
from benchmarks.figure import Figure, Value
from benchmarks.register import hashes, measured_in, write
from benchmarks.steps import accuracy
from tlcl.errors import TrainingError

FILES = ("hymenoptera/train.tar", "hymenoptera/val.tar")
WIDTH = 106
DOING = ("starting", "loading", "computing", "fitting", "testing", "drawing", "with fewer")
DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class Shown:
    """A command and the figure that holds what it prints.

    Attributes:
        words: after `tlcl`, with PHOTOS and OTHER_PHOTOS in the places of paths.
        certify: as of `Figure`.
    """

    figure: str
    words: str
    certify: Mapping[str, Any] | None = None


SHOWN = (
    Shown(
        "own_photos_transcript",
        "train +experiment=own_images data.train=PHOTOS data.test=OTHER_PHOTOS logger=none",
        {"run": f"+experiment=own_images data.train={FILES[0]} data.test={FILES[1]}", "summary": "test_acc",
         "value": "test", "minutes": 1, "exact": True},
    ),
    Shown("how_deep_transcript", "depth PHOTOS --test OTHER_PHOTOS"),
)  # fmt: skip


def abridged(lines: Iterable[str], paths: dict[str, str]) -> list[str]:
    """What is shown of what was printed.

    Args:
        paths: what is written in the place of each.
    """
    shown: list[str] = []
    for line in lines:
        if line.startswith(DOING):
            continue
        if line.startswith("epoch") and shown and shown[-1].startswith(("epoch", "…")):
            if shown[-1] != "…":
                shown.append("…")
            continue
        for path, word in paths.items():
            line = line.replace(path, word)
        text = DATE.sub("DATE", line)
        aligned = "  " in text.strip()  # of a table, whose columns stay
        shown += [text] if aligned or not text else textwrap.wrap(
            text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )  # fmt: skip
    return shown


def transcript(shown: Shown, data: Path) -> Figure:
    """Run it, in an empty folder."""
    others, photos = (str((data / file).resolve()) for file in reversed(FILES))
    typed = shown.words.replace("OTHER_PHOTOS", shlex.quote(others))
    typed = re.sub(r"\bPHOTOS\b", lambda _: shlex.quote(photos), typed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        progress(f"tlcl {shown.words}")
        program = Path(sys.executable).with_name("tlcl")
        ended = subprocess.run(
            [program, *shlex.split(typed)], cwd=folder, text=True, capture_output=True, check=False,
            env={**os.environ, "TLCL_CACHE": str(Path(folder, "cache"))},
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if ended.returncode:
            raise TrainingError(f"tlcl {shown.words} ended with {ended.returncode}: {ended.stderr[-2000:]}")
        (summary,) = Path(folder, "runs").rglob("summary.json")
        found = json.loads(summary.read_text())
        values = {"seconds": Value(seconds, "seconds")}
        if "test_acc" in found:
            values["test"] = accuracy(found)
        lines = abridged(ended.stdout.splitlines(), {others: "OTHER_PHOTOS", photos: "PHOTOS"})
        return Figure(
            shown.figure, (f"tlcl {shown.words}",), (0,), hashes(data, FILES), values=values,
            parts=("\n".join(["```text", *lines, "```"]),), measured=measured_in(summary.parent),
            certify=shown.certify,
        )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    names = [shown.figure for shown in SHOWN]
    parser.add_argument("--data", type=Path, required=True, help="folder of hymenoptera/")
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="these alone")


def section(options: argparse.Namespace) -> str:
    texts = []
    for shown in (one for one in SHOWN if one.figure in options.only):
        found = transcript(shown, options.data)
        write(found)
        texts.append(found.text())
    return "\n\n".join(texts)


BENCHMARK = Benchmark("benchmarks.transcript", "What is printed", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
