"""`python -m benchmarks.compile`: whether torch.compile pays back for a training step.

A bare step of ResNet-18 (forward, backward, SGD), compiled and not, in turns; the seconds that compiling takes at
the first step, and after how many images it has paid for itself. On CPUs it has not been seen to, so `tlcl` does
not compile.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.common import Benchmark, cifar_like, fresh_network, markdown, progress, timed_steps

PRECISIONS = {"fp32": False, "bf16": True}


class Measured(NamedTuple):
    """Seconds of the first step, and of the ones after it."""

    first: float
    later: list[float]


def stepper(bf16: bool, compiled: bool, batch_size: int, size: int) -> Callable[[], float]:
    """A function that trains one batch more and returns its seconds."""
    net, _ = fresh_network(channels_last=True, size=size)
    pool = cifar_like(4 * batch_size, size)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    network: Callable[[Tensor], Tensor] = torch.compile(net) if compiled else net
    around = partial(torch.autocast, "cpu", torch.bfloat16, enabled=bf16)
    return timed_steps(network, optimizer, pool.images, pool.labels, batch_size, around)


def compare(bf16: bool, options: argparse.Namespace) -> dict[str, Measured]:
    """Eager and compiled steps in turns."""
    names = ("eager", "compiled")
    steps = {name: stepper(bf16, name == "compiled", options.batch_size, options.size) for name in names}
    firsts = {name: step() for name, step in steps.items()}
    for step in steps.values():
        step()
    later: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            later[name].append(step())
    return {name: Measured(firsts[name], later[name]) for name in steps}


def row(precision: str, measured: dict[str, Measured], batch_size: int) -> list[str]:
    eager, compiled = measured["eager"], measured["compiled"]
    medians = statistics.median(eager.later), statistics.median(compiled.later)
    gained = medians[0] - medians[1]
    images = f"{batch_size * (compiled.first - eager.first) / gained:,.0f}" if gained > 0 else "never"
    return [
        precision,
        *(f"{1000 * value:.0f}" for value in medians),
        f"{statistics.median(a / b for a, b in zip(eager.later, compiled.later, strict=True)):.2f}",
        f"{compiled.first - eager.first:.0f}",
        images,
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, in turns")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")


def section(options: argparse.Namespace) -> str:
    rows = []
    for precision, bf16 in PRECISIONS.items():
        progress(f"  compiling for {precision}")
        rows.append(row(precision, compare(bf16, options), options.batch_size))
    header = ["", "eager ms", "compiled ms", "eager / compiled", "compiling s", "images until it has paid"]
    return (
        f"ResNet-18 at {options.size} pixels, everything trained, batch {options.batch_size}, medians of "
        f"{options.rounds} steps.\n\n{markdown(header, rows)}\n"
    )


BENCHMARK = Benchmark(
    "benchmarks.compile", "torch.compile", __doc__, add_options, section, ("--rounds", "2", "--batch-size", "16")
)

if __name__ == "__main__":
    BENCHMARK.main()
