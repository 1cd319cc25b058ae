"""The paper's experiment in full: ImageNet to CIFAR-10, then the model that came of it through five tasks.

Two networks with ImageNet weights at 128 pixels, and a ResNet-18 that is pretrained first, on the 200 classes of
Tiny-ImageNet at 32 pixels. The head alone for 15 epochs; the preset `+experiment=imagenet_to_cifar10` (the head,
then two more blocks); the fine-tuned model taken through the classes two at a time, and the methods that stop the
fall. Each is a run below --out; a finished one is not run again, one that was stopped goes on.
"""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Benchmark, with_files
from benchmarks.figure import Figure, Value
from benchmarks.register import hashes, measured_in, write
from benchmarks.steps import accuracy, methods_table, perform
from tlcl.models.weights import file_sha256

TARS = ("cifar10/train.tar", "cifar10/test.tar")
IMAGES = "data=image_folder data.train=train.tar data.test=test.tar data.size=32"
METHODS = ("naive", "slda", "ranpac", "layers", "er buffer_size=500", "der_pp buffer_size=500 alpha=0.02", "lwf")


@dataclass(frozen=True)
class Network:
    """One network of the chain.

    Attributes:
        folder: below --out.
        chosen: its keys and those of its images.
        weights: that it begins with: imagenet, FILE (that of --weights) or PRETRAINED.
        tuning: more keys of the fine-tuning.
        pretrain: what is typed for the run whose directory PRETRAINED is; empty: none.
        tars: what that is trained and tested on.
    """

    folder: str
    chosen: str
    weights: str
    tuning: str = ""
    pretrain: str = ""
    tars: tuple[str, ...] = ()


TINY = (
    "name=tiny_imagenet data=image_folder data.train=train.tar.gz data.test=val.tar.gz data.size=32 "
    "data.val_size=2000 data.batch_size=256 data.crop_padding=4 model=resnet18 model.weights=none "
    "model.input_size=32 thaw=all trainer.epochs=24 trainer.select=last optim.lr=0.1 optim.block_lr_decay=1.0 "
    "optim.warmup_epochs=1 optim.label_smoothing=0.1 logger=none"
)
NETWORKS = {
    "resnet18": Network("resnet18_layer3", "model=resnet18 model.cut=layer3 model.input_size=128", "FILE"),
    "lite0": Network(
        "efficientnet_lite0", "model=efficientnet_lite0 model.input_size=128", "imagenet", "data.cached_views=8"
    ),
    "tiny32": Network(
        "resnet18_tiny_imagenet", "model=resnet18 model.input_size=32", "PRETRAINED", "", TINY,
        ("tiny_imagenet32/train.tar.gz", "tiny_imagenet32/val.tar.gz"),
    ),
}  # fmt: skip


def steps(network: Network) -> dict[str, str]:
    """Name -> what is typed after `tlcl train`."""
    model = f"{network.chosen} logger=none"
    whole = f"+experiment=imagenet_to_cifar10 {IMAGES} {model} model.weights={network.weights}"
    whole = f"{whole} {network.tuning}".strip()
    tasks = (
        f"+experiment=continual_cifar10 {IMAGES} data.crop_padding=0 data.flip=false data.batch_size=64 "
        f"data.cache_prefix=disk {model} model.weights=MODEL continual.head=kept thaw.depth=1 trainer.epochs=1 "
        "optim.lr=0.01 optim.momentum=0.9"
    )
    methods = ",".join(f"'{method}'" for method in METHODS)
    return {
        **({"pretrain": network.pretrain} if network.pretrain else {}),
        "head": f"{whole} thaw=head_only trainer.epochs=15",
        "blocks": whole,
        "tasks": tasks,
        "methods": f'{tasks} "~method" compare=default "compare.methods=[{methods}]"',
    }


def figures(network: Network, data: Path, weights: Path, out: Path) -> Iterator[Figure]:
    """What the steps come to, for the register, each as soon as it is done."""
    typed, folder = steps(network), out / network.folder
    files = {"FILE": weights.resolve(), "MODEL": folder / "blocks", "PRETRAINED": folder / "pretrain"}
    tars = (*TARS, *network.tars)
    files |= {Path(tar).name: data / tar for tar in tars}
    common: dict[str, Any] = {"seeds": (0,), "data": hashes(data, tars)}
    common["weights"] = {f"weights/{weights.name}": file_sha256(weights)} if network.weights == "FILE" else {}
    places = {"FILE": Path("weights", weights.name), **{Path(tar).name: Path(tar) for tar in TARS}}
    again = shlex.join(with_files(typed["head"], places))

    def done(name: str) -> dict[str, Any]:
        return perform(folder / name, typed[name], files)

    first = {"pretrained": accuracy(done("pretrain"))} if network.pretrain else {}
    head, blocks = done("head"), done("blocks")
    values = first | {"head": accuracy(head), "blocks": accuracy(blocks)}
    values["seconds"] = Value(blocks["seconds"], "seconds")
    yield Figure(
        f"imagenet_to_cifar10_{network.folder}",
        tuple(f"tlcl train {typed[name]}" for name in typed if name not in ("tasks", "methods")),
        values=values, measured=measured_in(folder / "blocks"), **common, certify=None if network.pretrain else
        {"run": again, "summary": "test_acc", "value": "head", "minutes": 6, "exact": True},
    )  # fmt: skip
    curve = done("tasks")["cumulative_accuracy"]
    yield Figure(
        f"forgetting_{network.folder}", (f"tlcl train {typed['tasks']}",),
        values={f"after_{number}": Value(value, "percent") for number, value in enumerate(curve, start=1)},
        measured=measured_in(folder / "tasks"), **common,
    )  # fmt: skip
    done("methods")
    yield Figure(
        f"methods_{network.folder}", (f"tlcl train {typed['methods']}",), measured=measured_in(folder / "methods"),
        parts=(methods_table(folder / "methods" / "compare.json"),), **common,
    )  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10/train.tar and test.tar")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18's ImageNet weights up to layer3")
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=Path("runs/chain"), help="the runs are kept there")


def section(options: argparse.Namespace) -> str:
    parts = []
    for name in options.network:
        for figure in figures(NETWORKS[name], options.data, options.weights, options.out):
            write(figure)
            parts += [f"### {figure.name}", *(f"{key}: {value.text()}" for key, value in figure.values.items())]
            parts += [figure.text()]
    return "\n\n".join(parts)


BENCHMARK = Benchmark("benchmarks.chain", "ImageNet, CIFAR-10, five tasks", __doc__, add_options, section, ())

if __name__ == "__main__":
    BENCHMARK.main()
