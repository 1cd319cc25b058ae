"""Eight fixed commands and what they come to: whether a change of the code left every weight and figure as it was.

    python -m tests.same_results --write before.json     # in a checkout of the version before
    python -m tests.same_results --against before.json   # in today's

The files are compared on one machine: other processors and thread counts round otherwise.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SMALL = [
    "model=small_cnn", "model.weights=none", "logger=none", "trainer.accelerator=cpu", "trainer.progress=false",
    "trainer.precision=32-true", "seed=3",
]  # fmt: skip
TARGET = ["data=digits", "data.train_size=120", "data.val_size=60", "data.batch_size=32"]
STREAM = ["+experiment=continual_digits", *SMALL, *TARGET, "thaw=all", "trainer.epochs=1"]
ADAPT = [
    "+experiment=adapt_digits", *SMALL, "data.batch_size=32", "source.batch_size=32", "data.train_size=160",
    "source.train_size=160", "trainer.epochs=2", "thaw=all",
]  # fmt: skip
COMMANDS: dict[str, list[str]] = {
    "layerwise": [
        "+experiment=finetune_layerwise", *SMALL, *TARGET, "thaw=milestones", "+thaw.0=[head]", "+thaw.1=[layer3]",
        "+thaw.2=[layer2]", "trainer.epochs=3",
    ],
    "er": [*STREAM, "method=er"],
    "ewc": [*STREAM, "method=ewc"],
    "slda": [*STREAM, "method=slda"],
    "dann": [*ADAPT, "adaptation=dann"],
    "ccsa": [*ADAPT, "adaptation=ccsa"],
    "comparison": [
        "+experiment=continual_compare", *SMALL, *TARGET, "trainer.epochs=1", "compare.methods=[naive,er,slda]",
        "compare.seeds=[0,1]",
    ],
    "sweep": [
        "-m", *SMALL, *TARGET, "thaw.depth=0,2", "seed=0,1", "trainer.epochs=2",
    ],
}  # fmt: skip
VARYING = ("seconds", "path", "found", "command", "prefix_cache", "run_dir")  # of the time, the place, the cache


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in sorted(value.items()) if not key.startswith(VARYING)}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _figures(path: Path) -> str:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    return _digest(json.dumps([lasting(json.loads(line)) for line in lines]).encode())


def results_of(folder: Path) -> dict[str, str]:
    """File of a run, or of the runs of a sweep or comparison -> SHA-256 of its weights or its figures."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "model.safetensors":
            found[name] = _digest(path.read_bytes())
        elif path.name in ("summary.json", "metrics.jsonl", "tasks.jsonl", "matrix.json"):
            found[name] = _figures(path)
    return found


def results() -> dict[str, dict[str, str]]:
    """Run the eight commands in folders that are thrown away, with the package of the present folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "WANDB_MODE": "offline"}
    found = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        environment["TLCL_CACHE"] = str(root / "cache")
        for command, arguments in COMMANDS.items():
            place = "hydra.sweep.dir" if "-m" in arguments else "run_dir"
            subprocess.run(
                [sys.executable, "-m", "tlcl.train", *arguments, f"{place}={root / command}"],
                cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            found[command] = results_of(root / command)
            print(f"{command}: {len(found[command])} files", file=sys.stderr)
            shutil.rmtree(root / command)
    return found


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, help="where the results go")
    action.add_argument("--against", type=Path, help="results of another version; exit code 1 when some differ")
    options = parser.parse_args()
    found = results()
    if options.write:
        options.write.write_text(json.dumps(found, indent=2) + "\n")
        return
    before = json.loads(options.against.read_text())
    differ = [
        f"{command}/{name}"
        for command in COMMANDS
        for name in sorted(before[command].keys() | found[command].keys())
        if before[command].get(name) != found[command].get(name)
    ]
    print("\n".join(differ) or f"equal: {sum(map(len, found.values()))} files of {len(found)} commands")
    raise SystemExit(1 if differ else 0)


if __name__ == "__main__":
    main()
