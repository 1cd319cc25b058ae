"""`python -m benchmarks.depthwise`: training steps of networks with depthwise convolutions on a processor.

A bare step (forward, backward, SGD) of networks with random weights: in float32, in bfloat16, and in bfloat16 with
the gradients of strided and of large depthwise convolutions by fast kernels, as `tlcl` trains. They take turns.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from benchmarks.common import Benchmark, cifar_like, markdown, measure, median_ratio, progress, timed_steps
from tlcl.finetuning.depthwise_gradients import DepthwiseGradients

NETWORKS = ("tf_efficientnet_lite0", "mobilenetv3_large_100", "convnext_atto")
WAYS = {"fp32": (False, nullcontext), "bf16": (True, nullcontext), "as tlcl": (True, DepthwiseGradients)}


def stepper(network: str, way: str, options: argparse.Namespace) -> Callable[[], float]:
    """A function that trains one batch more and returns its seconds."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model(network, num_classes=10).to(memory_format=torch.channels_last)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # as `optim.batch_norm=frozen`
    pool = cifar_like(4 * options.batch_size, options.size)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    bf16, mode = WAYS[way]

    @contextmanager
    def around() -> Iterator[None]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False), mode():
            yield

    inputs = (pool.images / 255).contiguous(memory_format=torch.channels_last)
    return timed_steps(net, optimizer, inputs, pool.labels, options.batch_size, around)


def row(network: str, options: argparse.Namespace) -> list[str]:
    progress(f"  {network}")
    seconds = measure({way: stepper(network, way, options) for way in WAYS}, options.rounds)
    medians = (f"{1000 * statistics.median(seconds[way]):.0f}" for way in WAYS)
    ratios = (f"{median_ratio(seconds[way], seconds['as tlcl']):.2f}" for way in ("fp32", "bf16"))
    return [network, *medians, *ratios]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="of timm")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, in turns")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=112, help="height and width of the images")


def section(options: argparse.Namespace) -> str:
    header = ["", *(f"{way}, ms" for way in WAYS), "fp32 / as tlcl", "bf16 / as tlcl"]
    rows = [row(network, options) for network in options.networks]
    return (
        f"{options.size} pixels, everything trained, batch {options.batch_size}, medians of {options.rounds} "
        f"steps.\n\n{markdown(header, rows)}\n"
    )


BENCHMARK = Benchmark(
    "benchmarks.depthwise", "Depthwise convolutions", __doc__, add_options, section,
    ("--networks", "convnext_atto", "--rounds", "1", "--batch-size", "2", "--size", "32"),
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
