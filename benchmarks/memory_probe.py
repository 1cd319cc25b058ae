"""A process of `benchmarks.memory`: `python -m benchmarks.memory_probe LOOP TRAINED IMAGES BATCH_SIZE WORKERS`.

It trains one epoch by a loop of `benchmarks.finetune` and prints its own peak resident memory in bytes.
"""

import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.common import MODEL, fresh_network, prepare
from benchmarks.finetune import build_data, loops
from benchmarks.head_loops import Setup, train_head

NOTHING = "imports and images alone"
CACHED = "tlcl, features once, in memory"
EPOCHS = 3  # of the loop with a cache: it is filled in the first, and with flips not worth it for two


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: its peak is never below that of the process this one was started from.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    loop, trained, *numbers = sys.argv[1:]
    images, batch_size, workers = map(int, numbers)
    prepare()
    data = build_data(None, images, batch_size)
    if loop == CACHED:
        net, _ = fresh_network(channels_last=True)
        config = replace(data.config, crop_padding=0)
        train_head(net, Setup(data.source, config, EPOCHS, MODEL, {}), "32-true", "ram", Path())
    elif loop != NOTHING:
        loops(data, "everything" if trained == "everything" else "head", workers)[loop]()
    print(peak_bytes(), flush=True)
    os._exit(0)  # leaving in the usual way takes memory too, which whoever samples would see


if __name__ == "__main__":
    main()
