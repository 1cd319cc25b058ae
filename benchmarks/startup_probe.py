"""A training process that notes when its parts end: `python -m benchmarks.startup_probe SECONDS OVERRIDES...`.

SECONDS is `time.time()` at its start. Nothing is imported here that `tlcl.train` would not import itself.
"""

import itertools
import json
import os
import sys
import time
from typing import Any, NoReturn

PARTS = ("import", "compose", "build", "step")


def main() -> NoReturn:
    """Train up to the end of the first step, print the seconds of the parts, and stop."""
    marks = [float(sys.argv.pop(1))]

    def mark(*arguments: Any) -> None:
        marks.append(time.time())

    from tlcl import train
    from tlcl.finetuning.module import FinetuningModule

    mark()
    start = train.start

    def marked_start(composed: Any) -> dict[str, Any]:
        mark()
        return start(composed)

    def step_ends(*arguments: Any) -> NoReturn:
        mark()
        seconds = [after - before for before, after in itertools.pairwise(marks)]
        print(json.dumps(dict(zip(PARTS, seconds, strict=True))), flush=True)
        os._exit(0)

    train.start = marked_start
    FinetuningModule.on_train_batch_start = mark  # type: ignore[assignment,method-assign]
    FinetuningModule.on_train_batch_end = step_ends  # type: ignore[assignment,method-assign]
    train.main()
    raise SystemExit("the training ended before its first step")


if __name__ == "__main__":
    main()
