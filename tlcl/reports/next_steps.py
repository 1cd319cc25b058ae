"""What to do after a run: one piece of advice and commands to copy, the same on its page and in the terminal."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlcl.quoting import typed
from tlcl.reports.tested_blocks import thawed_blocks
from tlcl.statistics.accuracy import accuracy_interval
from tlcl.tracking.finished_run import FinishedRun

MUCH = 0.1  # accuracy that the earlier tasks lost on average, from which methods that stop it are advised
LEARNED = 0.7  # accuracy on the source below which a target that is level with it says little
Commands = list[tuple[str, str]]


def recorded_path(run: FinishedRun) -> str:
    """Where the run was written, as its command said: the page stays the same when the directory is copied."""
    return str(run.setting("run_dir") or run.path)


def use_commands(run_dir: str | Path) -> Commands:
    """(what for, command) to use a finished run's model."""
    path = shlex.quote(str(run_dir))
    return [
        ("classify images", f"tlcl predict {path} IMAGES --csv predictions.csv"),
        ("see why", f"tlcl explain {path} IMAGES"),
        ("try it in a browser", f"tlcl try {path}"),
    ]


def resume_commands(run_dir: str | Path) -> Commands:
    """(what for, command) to go on with a run that was stopped."""
    return [("go on with it", f"tlcl train {typed('+resume', run_dir)}")]


def next_step(summary: Mapping[str, Any]) -> str:
    """One piece of advice that follows from the figures of a fine-tuning."""
    look, deeper = summary.get("look") or {}, summary.get("deeper") or {}
    low, high = _interval(summary)
    if look.get("train_test", {}).get("groups"):
        return "test images are training images too, so that the accuracy is too high: test on others first"
    if look.get("between", {}).get("groups"):
        return "there are equal images with different classes: put their labels right first"
    if high - low > 0.1:
        return "more test images: the interval is wider than 10 points"
    if deeper.get("kept"):
        more = len(thawed_blocks(summary))  # the head is one of them
        wider = f"thaw more (thaw.depth={more}), or " if more < len(summary.get("blocks", [])) else ""
        return f"{wider}add labelled images: the deeper model was worth it"
    if summary["test_acc"] >= 0.98:
        return "look at the mistakes in the report: there is little left to gain"
    return "more labelled images of the classes that are most often wrong"


def continual_step(summary: Mapping[str, Any]) -> str:
    """As `next_step`, of a continual run."""
    lost = summary.get("forgetting")
    if lost is None:
        return "all tasks were given at once: compare the methods that see one after the other"
    if lost > MUCH:
        return "much is forgotten: compare the methods that stop it"
    return "little is forgotten: compare with joint, which is given all tasks at once"


def compared_with(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods that this advice is about; none: those of the comparison."""
    lost = summary.get("forgetting")
    return () if lost is None or lost > MUCH else ("joint",)


def adaptation_step(summary: Mapping[str, Any]) -> str:
    """As `next_step`, of a domain adaptation."""
    if summary["test_acc"] is None:
        return "label a few dozen images by hand, as data.test=FOLDER: only they tell how good it is"
    given = summary.get("supervision", "none")
    if given == "all":
        return "this is the upper end of the scale: compare the methods that see fewer labels of the target"
    more = "label more images" if summary.get("labelled") else "label a few images (adaptation=ccsa)"
    if summary["source_test_acc"] - summary["test_acc"] > 0.1:
        return f"the target is far behind the source: compare the methods, or {more}"
    if summary["method"]["name"] == "source_only":
        return "the target is answered nearly as well as the source without any adaptation: see the mistakes below"
    if summary["source_test_acc"] < LEARNED:
        return "even the source is hardly learned: adaptation=source_only shows whether the method is what costs it"
    return (
        "the target is answered nearly as well as the source: see the mistakes below, and compare with "
        "adaptation=source_only"
    )


def _interval(summary: Mapping[str, Any]) -> tuple[float, float]:
    known = (summary.get("first_answer") or {}).get("interval")
    if known:
        return known[0], known[1]
    size = int(summary.get("test_size") or 0)
    return accuracy_interval(round(summary["test_acc"] * size), size)
