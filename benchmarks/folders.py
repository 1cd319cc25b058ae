"""`python -m benchmarks.folders`: folders of many files, and a set of images larger than memory.

Made-up JPEG files in class folders are loaded at a first start, at a second one, and after a hundredth of them has
changed: seconds, and the most memory that was taken above that of the program, without the decoded images. Then a
set of more decoded images than a limit of memory allows trains for an epoch (in a control group of Linux, where one
can be made; it needs root).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Benchmark, markdown, progress

GROUPS = Path("/sys/fs/cgroup")
CLASSES = 10
# What a start does: read what is there, look at it, and write down what it is; in a process of its own.
START = """
import json, re, sys, time
from pathlib import Path
from tlcl.data.look import look
from tlcl.data.sources.image_folder import ImageFolderConfig, load_image_folder
from tlcl.data.splits import split_of
from tlcl.tracking.data_record import data_record
# Not getrusage, which counts what the process that started this one held.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, began = peak(), time.perf_counter()
config = ImageFolderConfig("image_folder", train=sys.argv[1], size=int(sys.argv[2]))
source = load_image_folder(config, sys.argv[3])
look(source, split_of(source, config, 0))
data_record({"training": source.pool, "test": source.test})
images = (source.pool.images.nbytes + source.test.images.nbytes) / 2**20
print(json.dumps([time.perf_counter() - began, peak() - before, images]))
"""


def write_images(root: Path, count: int, side: int, seed: int = 0) -> Path:
    """`count` JPEG files in class folders, a smooth picture for each class with a corner of its own."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (CLASSES, 8, 8, 3), dtype=np.uint8)
    pictures = [np.array(Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR)) for one in small]
    for number in range(count):
        folder = root / f"class {number % CLASSES}" / str(number // CLASSES % CLASSES)
        folder.mkdir(parents=True, exist_ok=True)
        picture = pictures[number % CLASSES].copy()
        picture[: side // 4, : side // 4] = random.integers(0, 256, 3)
        Image.fromarray(picture).save(folder / f"{number}.jpg", quality=70)
    return root


def start(root: Path, size: int, cache: Path) -> tuple[float, float, float]:
    """Seconds, MiB above the program's, and MiB of decoded images."""
    command = [sys.executable, "-c", START, str(root), str(size), str(cache)]
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    seconds, above, images = json.loads(process.stdout.splitlines()[-1])
    return seconds, above, images


def many_files(options: argparse.Namespace, work: Path) -> str:
    progress(f"  {options.files} files are made")
    root, cache = write_images(work / "many", options.files, options.side), work / "cache"
    rows = []
    for name in ("first start", "second start", "a hundredth changed"):
        if name.startswith("a hundredth"):
            write_images(root, options.files // 100, options.side, seed=1)
        seconds, above, images = start(root, options.size, cache)
        progress(f"  {name}: {seconds:.1f} s, {above:.0f} MiB above the program")
        rows.append([name, f"{options.files:,}", f"{images:,.0f}", f"{seconds:.1f}", f"{above:.0f}"])
    return markdown(["start", "files", "decoded MiB", "s", "peak MiB above the program"], rows)


def limited(gib: float) -> Path | None:
    """A control group that may take so much memory; None where none can be made."""
    for root, name in ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max")):
        group = root / f"tlcl_{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(int(gib * 2**30)))
            return group
        except OSError:
            continue
    return None


def larger_than_memory(options: argparse.Namespace, work: Path) -> str:
    progress(f"  {options.images} images of {options.large} pixels are made")
    root = write_images(work / "large", options.images, options.large)
    group = limited(options.limit_gib)
    keys = [
        "data=image_folder", f"data.train={root}", f"data.size={options.large}", "model=small_cnn",
        "model.input_size=32", "thaw=all", "data.crop_padding=0", "data.flip=false", "logger=none",
        "trainer.epochs=1", "trainer.progress=false", "optim.name=adamw", "optim.lr=0.002",
    ]  # fmt: skip
    command = [sys.executable, "-m", "tlcl", "train", *keys, f"run_dir={work / 'run'}"]

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    environment, began = {**os.environ, "TLCL_CACHE": str(work / "cache")}, time.perf_counter()
    process = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, preexec_fn=join
    )
    seconds = time.perf_counter() - began
    if group is not None:
        group.rmdir()
    if process.returncode:
        raise RuntimeError(f"tlcl failed ({process.returncode}):\n{process.stdout[-2000:]}")
    accuracy = json.loads((work / "run" / "summary.json").read_text("utf-8"))["test_acc"]
    gib = options.images * 3 * options.large**2 / 2**30
    limit = f"{options.limit_gib:g}" if group is not None else "no group could be made"
    row = [f"{options.images:,}", f"{gib:.2f}", limit, f"{seconds:.0f}", f"{100 * accuracy:.1f}"]
    return markdown(["images", "decoded GiB", "limit GiB", "s, decoding and an epoch", "test accuracy %"], [row], 0)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=100_000, help="of the folder of many")
    parser.add_argument("--side", type=int, default=32, help="pixels of these files")
    parser.add_argument("--size", type=int, default=64, help="data.size at which they are decoded")
    parser.add_argument("--images", type=int, default=22_000, help="of the set that is larger than memory")
    parser.add_argument("--large", type=int, default=256, help="its pixels, and its data.size")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="of memory, while it trains")


def section(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        return f"{many_files(options, work)}\n\n{larger_than_memory(options, work)}\n"


BENCHMARK = Benchmark(
    "benchmarks.folders", "Folders of many files, and sets larger than memory", __doc__, add_options, section,
    ("--files", "400", "--images", "120", "--large", "48"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
