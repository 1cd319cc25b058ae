"""Runs on the same test images beside each other, from their recorded answers; no winner without a test."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from tlcl.reports.tables.sweep import Row, is_condition
from tlcl.statistics.accuracy import LEVEL
from tlcl.statistics.paired import (
    Difference,
    paired_difference,
    paired_trainings,
    together,
)
from tlcl.statistics.power import images_to_tell
from tlcl.system.figures import count, counted, percent, points, signed_interval
from tlcl.tracking.data_record import seen_alike
from tlcl.tracking.finished_run import COMPLETE
from tlcl.tracking.predictions import read_predictions
from tlcl.tracking.records import read_object
from tlcl.tracking.sweep_records import POOLED

NAMED = 4  # settings that a sentence names
Key = TypeVar("Key", bound=Hashable)
Runs = Mapping[object, Path]  # seed -> run directory


class Answered(NamedTuple):
    """What a run answered about its test images.

    Attributes:
        images: tells them from others, by names and labels where they are files.
        shape, pixels: of the decoded images (None: not recorded), and what tells their pixels from others.
        glances: what tells them at any size, see `tlcl.tracking.data_record.glances`; empty: not recorded.
        right: bool (N,), which are right.
    """

    images: str
    shape: tuple[int, ...] | None
    pixels: str
    glances: str
    right: np.ndarray

    def asked_as(self, other: "Answered") -> bool:
        """Whether both were asked about the same images: the same files, which at another size look the same."""
        if self.images != other.images or self.pixels == other.pixels:
            return self.images == other.images
        if self.shape is not None and self.shape == other.shape:
            return False
        return not (self.glances and other.glances) or seen_alike(self.glances, other.glances)


def answered(run_dir: Path) -> Answered | None:
    """From the records of a finished run; None where they do not say of which images, or what is right."""
    try:
        return _answered(run_dir.resolve(), (run_dir / "test_predictions.npz").stat().st_mtime_ns)
    except OSError:
        return None


@cache
def _answered(run_dir: Path, written: int) -> Answered | None:
    tested = read_predictions(run_dir)
    if tested is None or not len(tested.labels) or tested.labels.min() < 0:
        return None
    record = read_object(run_dir / "data.json")
    part = record.get("test") or record.get("target's test") or {}
    if record and "digest" not in part:
        return None  # of runs from before there were records the labels say which images they are
    files = [row[:2] for row in part.get("files", [])]
    images = f"{part.get('classes')} {hash(str(files))}" if files else str(part.get("digest"))
    images = f"{images} {hash(tested.labels.tobytes())} {len(tested.labels)}"
    shape = tuple(part["shape"]) if "shape" in part else None
    right = tested.probabilities.argmax(1) == tested.labels
    return Answered(images, shape, str(part.get("digest")), str(part.get("glances", "")), right)


def _known(runs: Runs) -> dict[object, Answered]:
    found = {seed: answered(path) for seed, path in runs.items()}
    return {seed: one for seed, one in found.items() if one is not None}


def compared(first: Runs, others: Mapping[str, Runs]) -> dict[str, Difference]:
    """Each of the others less the first, p adjusted for their number: see `paired_runs`."""
    return together(paired_runs(first, others))


def paired_runs(first: Runs, others: Mapping[Key, Runs]) -> dict[Key, Difference]:
    """Each of the others less the first, over the seeds that both have.

    Each is compared on the seeds that the first and it have in common; what shares none, or was tested on other
    images, is left out. Where the seeds' test images differ from each other, what is drawn are the seeds.
    """
    known = _known(first)
    found: dict[Key, Difference] = {}
    for name, runs in others.items():
        theirs = _known(runs)
        seeds = [seed for seed in known if seed in theirs and known[seed].asked_as(theirs[seed])]
        if not seeds:
            continue
        right, other = ([answers[seed].right for seed in seeds] for answers in (known, theirs))
        if all(known[seed].asked_as(known[seeds[0]]) for seed in seeds):
            found[name] = paired_difference(np.array(right), np.array(other))
        else:
            found[name] = paired_trainings(right, other)
    return found


def runs_of(row: Row, root: Path) -> dict[object, Path]:
    """Seed -> directory of the complete runs of a setting."""
    found: dict[object, Path] = {}
    for job in row.jobs:
        if job.status == COMPLETE and job.path is not None:
            found.setdefault(job.settings.get(POOLED, ""), root / job.path)
    return found


def beside_chosen(root: Path, rows: Sequence[Row], best: Sequence[Row]) -> dict[int, Difference]:
    """By the id of a row: its answers less those of what validation chose under the same conditions."""
    found: dict[int, Difference] = {}
    for chosen in best:
        conditions = [key for key in chosen.settings if is_condition(key)]
        rivals = {
            str(place): row for place, row in enumerate(rows)
            if row is not chosen and all(row.settings[key] == chosen.settings[key] for key in conditions)
        }  # fmt: skip
        pairs = compared(runs_of(chosen, root), {name: runs_of(row, root) for name, row in rivals.items()})
        found |= {id(rivals[name]): pair for name, pair in pairs.items()}
    return found


def difference_words(pair: Difference) -> str:
    """`-1.2 (-2.0 to -0.4)` points."""
    return signed_interval(pair.difference, pair.low, pair.high)


def all_pairs(runs: Mapping[str, Runs]) -> dict[str, dict[str, Difference]]:
    """Of all that are named, each less each: p adjusted for the number of pairs, whichever looks best.

    Who is best on the test images is chosen by the same images that then compare; a test of the others with it
    alone would be wrong too often.
    """
    names, pairs = list(runs), dict[tuple[str, str], Difference]()
    for place, name in enumerate(names):
        rest = {other: runs[other] for other in names[place + 1 :]}
        pairs |= {(name, other): pair for other, pair in paired_runs(runs[name], rest).items()}
    found: dict[str, dict[str, Difference]] = {name: {} for name in names}
    for (one, other), pair in together(pairs).items():
        found[one][other], found[other][one] = pair, turned(pair)
    return found


def turned(pair: Difference) -> Difference:
    """The first less the second."""
    turned_round = replace(pair, first=pair.second, second=pair.first, difference=-pair.difference)
    return replace(turned_round, low=-pair.high, high=-pair.low)


def standing_words(pairs: Mapping[str, Difference], one: str, tests: int = 0) -> str:
    """Which of several are worse or better than one, and which cannot be told apart from it.

    Args:
        pairs: name -> it less the one, p adjusted.
        one: what the one is called.
        tests: for how many p is adjusted; 0: for these.
    """
    if not pairs:
        return ""
    groups = {
        f"worse than {one} by more than chance": [name for name, pair in pairs.items() if pair.first_is_better],
        f"better than {one} by more than chance": [name for name, pair in pairs.items() if pair.second_is_better],
        f"not to be told apart from {one}": [name for name, pair in pairs.items() if not pair.told_apart],
    }
    parts = [f"{_list(names)} {_are(names)} {words}" for words, names in groups.items() if names]
    number = tests or len(pairs)
    adjusted = f", adjusted for {count(number)} comparisons" if number > 1 else ""
    return f"On the same test images {'; '.join(parts)} (95 %{adjusted}).{_more_images(pairs, one, number)}"


def _more_images(pairs: Mapping[str, Difference], one: str, tests: int) -> str:
    """How many test images would tell the farthest of those that are not told apart from it.

    Of several trainings more images alone would not: their luck stays.
    """
    near = {name: pair for name, pair in pairs.items() if not pair.told_apart and pair.seeds == 1}
    if not near:
        return ""
    name, pair = max(near.items(), key=lambda item: abs(item[1].difference))
    more = images_to_tell(pair.difference, pair.discordant, 1 - (1 - LEVEL) / tests)
    if more is None or more <= pair.images:
        return ""
    gap = points(abs(pair.difference))
    return f" If {name} is as far from {one} as the {gap} points seen, about {counted(more, 'image')} would tell."


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _list(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {count(len(names) - NAMED)} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def pair_sentence(first: str, second: str, pair: Difference) -> str:
    """What a comparison of two comes to, and where it cannot tell, how many test images would."""
    seeds = f" with {pair.seeds} seeds" if pair.seeds > 1 else ""
    on = f"on the same {counted(pair.images, 'test image')}{seeds}"
    less = f"the second less the first {difference_words(pair)} points"
    figures = f"{percent(pair.first)} and {percent(pair.second)} are right, {less}"
    if pair.told_apart:
        better, worse = (second, first) if pair.difference > 0 else (first, second)
        return f"{better} is better than {worse} {on}: {figures} (p = {pair.p:.2g})."
    said = f"{first} and {second} cannot be told apart {on}: {figures} (p = {pair.p:.2g})."
    more = images_to_tell(pair.difference, pair.discordant)
    if more is None or more <= pair.images:
        return said
    seen, images = points(abs(pair.difference)), counted(more, "image")
    return f"{said} If the difference is as large as the {seen} points seen, about {images} would tell."
