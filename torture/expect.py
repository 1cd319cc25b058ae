"""What faults have in common that are put well."""

import json
import re
from pathlib import Path

from tlcl.tracking.checkpoint import LAST, PREVIOUS, read_checkpoint
from tlcl.tracking.records import read_lines
from torture.case import Broken
from torture.jobs import last_line
from torture.workplace import Finished

CODES = {2: "error: ", 1: "stopped: ", 130: "stopped: ", 143: "stopped: "}


def sentence(finished: Finished, code: int, *words: str) -> str:
    """The one sentence on the standard error, after which the process ended with `code`.

    Raises:
        Broken: another code, a traceback, more or less than a sentence, or one without one of `words`.
    """
    said = [line for line in finished.err.splitlines() if line.startswith(tuple(CODES.values()))]
    happened = f"exit code {finished.code}: {last_line(finished.err)}"
    if "Traceback" in finished.err:
        raise Broken(f"a traceback; {happened}")
    if finished.code != code or len(said) != 1 or not said[0].startswith(CODES[code]):
        raise Broken(f"{happened} ({len(said)} sentences, not one with code {code})")
    if not finished.err.rstrip("\n").endswith(said[0]):
        raise Broken(f"more after the sentence: {last_line(finished.err)}")
    missing = [word for word in words if word not in said[0]]
    if missing:
        raise Broken(f"the sentence does not say {', '.join(missing)}: {said[0]}")
    return f"exit code {code}, “{short(said[0])}”"


def warned(finished: Finished, *words: str) -> str:
    """The warning with all of `words`; warnings go to the log, on the standard output.

    Raises:
        Broken: none has them.
    """
    if "Traceback" in finished.err:
        raise Broken(f"a traceback: {last_line(finished.err)}")
    for line in [*finished.out.splitlines(), *finished.err.splitlines()]:
        if all(word in line for word in words):
            return f"“{short(line)}”"
    raise Broken(f"no warning says {', '.join(words)}; the last line is {last_line(finished.out)}")


def short(line: str) -> str:
    """A sentence for the table; folders of this machine are left out."""
    line = re.sub(r"(?<![\w.])/[^\s;,:'\")]*/(?=(run|images|cache|[^/\s]+)\b)", "", line)
    return line if len(line) <= 400 else line[:397] + "..."


def nothing_lost(run: Path) -> None:
    """That what a stopped run left is whole: every record parses, and every checkpoint passes its checksums.

    Raises:
        Broken: something is damaged, or half-written files lie about.
    """
    for path in run.rglob("*"):
        if ".partial" in path.name or path.name == "incoming.ckpt":
            raise Broken(f"{path.name} was left")
    for path in run.glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            raise Broken(f"{path.name} is damaged") from None
    for name in (LAST, PREVIOUS):
        path = run / "checkpoints" / name
        if path.is_file():
            try:
                content = read_checkpoint(path)
            except ValueError as error:
                raise Broken(str(error)) from None
            lines = len(read_lines(run / "metrics.jsonl"))
            if lines < int(content["epoch"]) + 1:
                raise Broken(f"{name} is of epoch {content['epoch']}, but only {lines} lines are recorded")
