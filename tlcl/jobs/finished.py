"""A finished run, read back: what classifies after it, and what it says of images."""

from pathlib import Path

import torch
from torch import Tensor

from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.continual.learner import trained_classifier
from tlcl.data.images.pixel_range import PixelRange
from tlcl.data.images.user_images import read_images
from tlcl.errors import UserError
from tlcl.jobs.classified import Classified
from tlcl.models.blocks import Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import SplitNetwork
from tlcl.models.weights import RUN_MODEL, read_state
from tlcl.prefix_cache.probabilities import predict_probabilities, split_at_frozen
from tlcl.reports.next_steps import resume_commands
from tlcl.security.untrusted import Labels
from tlcl.statistics.conformal import largest_coverage, prediction_sets, score_limit
from tlcl.system.figures import counted
from tlcl.system.text import plain
from tlcl.tracking.calibration import Calibration, read_calibration
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.latest import run_below

NEEDED = ("config.yaml", "labels.json", RUN_MODEL)


def load_run(run_dir: Path) -> tuple[Blocks | SplitNetwork, Labels, Config]:
    """What classifies after a finished run (uint8 images -> logits), its `labels.json` and its config.

    Raises:
        UserError: `run_dir` holds no finished run, or its files do not fit together.
    """
    for name in NEEDED:
        if not (run_dir / name).is_file():
            raise UserError(f"{run_dir} is no finished tlcl run: it has no {name}{_instead(run_dir)}")
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


def _instead(folder: Path) -> str:
    """What to do with a directory that has no model of its own: the end of a sentence."""
    if inside := run_below(folder):
        return f"; it holds runs, give one of them, such as {inside}"
    run = FinishedRun(folder)
    try:
        config = parse_config(run.config)
    except UserError:
        return ""
    if not run.complete:
        ((_, command),) = resume_commands(folder)
        return f"; finish it with {command}"
    if config.depth is not None:
        return "; it asks how deep, and keeps no model: train one by the command that it recommends"
    return ""


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


def limit_for(coverage: float, calibration: Calibration, run_dir: Path) -> float:
    """The limit of the scores of classes that are in the set, see `tlcl.statistics.conformal.score_limit`.

    Raises:
        UserError: no share of the images, or more than the run's held-out images can promise.
    """
    if not 0 < coverage < 1:
        raise UserError(f"--coverage={coverage:g} must be above 0 and below 1, such as 0.9")
    images = len(calibration.scores)
    if not images:
        why = calibration.reason or "it kept no held-out predictions"
        raise UserError(f"--coverage={coverage:g} needs held-out images, and {run_dir} has none: {why}")
    limit = score_limit(calibration.scores, coverage)
    if limit > 1:
        most = int(1000 * largest_coverage(images)) / 1000
        raise UserError(
            f"--coverage={coverage:g} is more than {counted(images, 'held-out image')} can promise; ask for "
            f"{most:g} at most"
        )
    return limit


def classify(
    run_dir: Path,
    paths: list[Path],
    *,
    batch_size: int,
    skip_bad: bool,
    progress: bool,
    coverage: float | None = None,
) -> Classified:
    """What a finished run says of images; its probabilities are calibrated where the run has a temperature.

    Args:
        paths: image files, folders or tar files of them.
        coverage: with it, a set of classes for each image, see `tlcl.statistics.conformal`.

    Raises:
        UserError: as `load_run`, `read_images`, `read_calibration` and `limit_for`.
    """
    net, labels, config = load_run(run_dir)
    calibration = read_calibration(run_dir)
    limit = None if coverage is None else limit_for(coverage, calibration, run_dir)
    files, images = read_images(
        paths, labels.size, labels.channels, pixel_range_of(config), skip_bad=skip_bad, progress=progress
    )
    given = class_probabilities(net, images, config, batch_size=batch_size, progress=progress).numpy()
    return Classified(
        [plain(file) for file in files],
        [plain(name) for name in labels.classes],
        calibration.calibrated(given),
        None if limit is None else prediction_sets(given, limit),
    )

