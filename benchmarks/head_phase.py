"""`python -m benchmarks.head_phase`: seconds of a whole head-only phase of our training beside others, in one run.

Ours computes the outputs of the frozen blocks once, in each round anew, or finds those of an earlier run. Beside:
(a) our own training with the frozen blocks computed in every epoch (data.cache_prefix=off);
(b) Lightning with torchvision's CIFAR10-style dataset of PIL images, its transforms and a DataLoader;
(c) the same with finetuning-scheduler's callback, where it is installed;
(d) a bare PyTorch loop, and one that computes the features once by hand.

All train the head of ResNet-18 at 32 pixels, or of another network of timm with random weights
(--arch vit_small_patch16_224 --size 224 --images 256), for the same number of epochs, from the same weights, on the
same images, with the frozen BatchNorm layers in eval mode; one table without augmentation and one with random
flips. The seconds are those of the whole phase: start-up of the Trainer, workers and caches included, no validation
and no checkpoints. That the loops train the same thing shows in the mean loss of their last epochs, which is
compared.
"""

import argparse
import importlib.util
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.common import MODEL, Benchmark, load_pool, markdown, measure, median_ratio, progress
from benchmarks.head_loops import Phase, Setup, bare, lightning, ours
from tlcl.config.schema import DataConfig, ModelConfig
from tlcl.data.image_tensors import Source
from tlcl.models.timm import TimmConfig

SCHEDULER = importlib.util.find_spec("finetuning_scheduler") is not None
AUGMENTATIONS = {"none": False, "flip": True}
HELD_OUT = 10  # images: nothing validates
BASES = ("tlcl", "tlcl bf16")
ALIKE = 0.05  # last losses differ by the order of the images and the draws of the flips alone


def anew(setup: Setup, precision: str, cache: str) -> Phase:
    """Ours, without what an earlier run left behind."""
    with tempfile.TemporaryDirectory() as folder:
        return ours(setup, precision, cache, Path(folder))


def loops(setup: Setup, workers: int, folder: Path) -> dict[str, Callable[[], Phase]]:
    """`folder` keeps what is found again."""
    chosen: dict[str, Callable[[], Phase]] = {
        "tlcl": lambda: anew(setup, "32-true", "auto"),
        "tlcl bf16": lambda: anew(setup, "bf16-mixed", "auto"),
        "tlcl, cache found": lambda: ours(setup, "32-true", "auto", folder),
        "tlcl, no cache": lambda: anew(setup, "32-true", "off"),
        "tlcl bf16, no cache": lambda: anew(setup, "bf16-mixed", "off"),
        "bare PyTorch": lambda: bare(setup, "32-true", once=False),
        "bare PyTorch bf16": lambda: bare(setup, "bf16-mixed", once=False),
        "bare PyTorch, features once": lambda: bare(setup, "32-true", once=True),
        "bare PyTorch bf16, features once": lambda: bare(setup, "bf16-mixed", once=True),
        f"Lightning, {workers} workers": lambda: lightning(setup, workers, scheduled=False),
    }
    if SCHEDULER:
        chosen[f"finetuning-scheduler, {workers} workers"] = lambda: lightning(setup, workers, scheduled=True)
    return chosen


def table(augmentation: str, measured: dict[str, list[Phase]]) -> str:
    seconds = {name: [phase.seconds for phase in phases] for name, phases in measured.items()}
    rows = [
        [
            name,
            f"{min(times):.2f}",
            f"{statistics.median(times):.2f}",
            *(f"{median_ratio(seconds[base], times):.3f}" for base in BASES),
            f"{statistics.median(phase.loss for phase in measured[name]):.4f}",
        ]
        for name, times in seconds.items()
    ]
    header = [
        f"augmentation: {augmentation}",
        "s min",
        "s median",
        *(f"{base} / it" for base in BASES),
        "last loss",
    ]
    return markdown(header, rows)


def comparison(measured: dict[str, list[Phase]]) -> str:
    """In words, how far the loops' last losses are from each other."""
    losses = {name: statistics.median(phase.loss for phase in phases) for name, phases in measured.items()}
    middle = statistics.median(losses.values())
    apart = {name: abs(loss - middle) / middle for name, loss in losses.items()}
    text = f"The last losses are within {max(apart.values()):.1%} of their median."
    odd = [name for name, part in apart.items() if part > ALIKE]
    return f"{text} **Not alike: {', '.join(odd)}.**" if odd else text


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--augment", nargs="+", choices=AUGMENTATIONS, default=list(AUGMENTATIONS), help="tables")
    parser.add_argument("--arch", help="a network of timm in place of ResNet-18")
    parser.add_argument("--size", type=int, default=32, help="pixels of the images and the network's input")
    parser.add_argument("--only", nargs="+", metavar="LOOP", help="names of loops (default: all)")
    parser.add_argument("--images", type=int, default=2000, help="training images")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="DataLoader workers of the torchvision loops")
    parser.add_argument("--tar", type=Path, help="a tar of ten class folders to take the images from")


def section(options: argparse.Namespace) -> str:
    pool = load_pool(options.tar, options.images + HELD_OUT, options.size)
    model: ModelConfig = replace(MODEL, input_size=options.size)
    if options.arch:
        model = TimmConfig(name="timm", weights="none", input_size=options.size, arch=options.arch)
    text = (
        f"{model.title} at {options.size} pixels: {options.epochs} epochs on {options.images} images, "
        f"batch {options.batch_size}, {options.rounds} rounds; "
        "seconds of the whole phase, ratios are medians of those within each round, below 1 where tlcl is faster.\n"
    )
    if not SCHEDULER:
        text += "\nfinetuning-scheduler is not installed (pip install 'tlcl[bench]'), so its row is left out.\n"
    for augmentation in options.augment:
        progress(f"head phase: augmentation {augmentation}")
        config = DataConfig(
            "benchmark", options.images, HELD_OUT, options.batch_size, 0, AUGMENTATIONS[augmentation]
        )
        setup = Setup.of(Source(pool, pool), config, options.epochs, model)
        with tempfile.TemporaryDirectory() as folder:
            chosen = loops(setup, options.workers, Path(folder))
            if options.only:
                chosen = {name: loop for name, loop in chosen.items() if name in (*BASES, *options.only)}
            measured = measure(chosen, options.rounds)
        text += f"\n{table(augmentation, measured)}\n\n{comparison(measured)}\n"
    return text


BENCHMARK = Benchmark(
    "benchmarks.head_phase", "A whole head-only phase", __doc__, add_options, section,
    ("--images", "256", "--epochs", "3", "--rounds", "1"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
