"""A finished run, read back: what classifies after it, and what it says of images."""

import csv
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor

from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.continual.learner import trained_classifier
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.user_images import read_images
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import SplitNetwork
from tlcl.models.weights import RUN_MODEL, read_state
from tlcl.prefix_cache.probabilities import predict_probabilities, split_at_frozen
from tlcl.security.untrusted import Labels
from tlcl.system.text import plain
from tlcl.tracking.csv_cells import to_cell
from tlcl.tracking.finished_run import FinishedRun


def load_run(run_dir: Path) -> tuple[Blocks | SplitNetwork, Labels, Config]:
    """What classifies after a finished run (uint8 images -> logits), its `labels.json` and its config.

    Raises:
        UserError: `run_dir` holds no finished run, or its files do not fit together.
    """
    for name in ("config.yaml", "labels.json", RUN_MODEL):
        if not (run_dir / name).is_file():
            raise UserError(f"{run_dir} is no finished tlcl run: it has no {name}")
    run = FinishedRun(run_dir)
    config, labels = parse_config(run.config), run.labels
    net, backbone = build_model(config.model, len(labels.classes), config.seed)
    state = read_state(run_dir / RUN_MODEL)
    try:
        net.load_state_dict({key: state[backbone.native_key(key)] for key in net.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{run_dir / RUN_MODEL} does not fit its config.yaml: {error}") from None
    if run.summary.get("answer") == "head":
        config.thaw = {"depth": 0}  # what was trained in the end: frozen blocks have their own precision
    return trained_classifier(config, labels, net, run_dir), labels, config


def pixel_range_of(config: Config) -> PixelRange | None:
    """What was black and white in the run's own images of more than 8 bits; None: what their type says."""
    given = getattr(config.data, "pixel_range", None)
    return PixelRange(*given) if given else None


def device_for(config: Config) -> torch.device:
    """Where a finished run's network works: a GPU if there is one, unless the run was kept on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu")


def class_probabilities(
    net: Blocks | SplitNetwork, images: Tensor, config: Config, *, batch_size: int, progress: bool
) -> Tensor:
    """What the network and config of `load_run` say of images: float32 (N, K), rows sum to 1."""
    return predict_probabilities(
        net if isinstance(net, SplitNetwork) else split_at_frozen(net, config),
        images,
        config,
        device_for(config),
        batch_size=batch_size,
        progress="predict" if progress else None,
    )


def predictions(run_dir: Path, paths: list[Path], *, batch_size: int, skip_bad: bool, progress: bool) -> str:
    """CSV text: file, prediction, confidence, and one probability column a class; names as `csv_cells` writes them.

    Raises:
        UserError: as `load_run` and `read_images`.
    """
    net, labels, config = load_run(run_dir)
    files, images = read_images(
        paths, labels.size, labels.channels, pixel_range_of(config), skip_bad=skip_bad, progress=progress
    )
    probabilities = class_probabilities(net, images, config, batch_size=batch_size, progress=progress)
    text, names = StringIO(), [plain(name) for name in labels.classes]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "prediction", "confidence", *(f"p({name})" for name in names)])
    for file, row in zip(files, probabilities.tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        cells = to_cell(plain(file)), to_cell(names[best])
        writer.writerow([*cells, f"{row[best]:.6f}", *(f"{probability:.6f}" for probability in row)])
    return text.getvalue()
