"""A finished run's model for other programs: what `tlcl export` writes."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import tlcl
from tlcl.config.schema import Config
from tlcl.continual.learner import MethodScores
from tlcl.data.image_tensors import ImageTensors
from tlcl.data.sources.registry import load_source
from tlcl.errors import TrainingError, UserError
from tlcl.explain.gradcam import network_of
from tlcl.jobs.finished import load_run
from tlcl.models.inference import in_batches
from tlcl.models.onnx import BATCH, ClassProbabilities, require_onnx, run_onnx, to_onnx
from tlcl.models.tail import SplitNetwork
from tlcl.security.untrusted import Labels
from tlcl.seeding import generator
from tlcl.system.files import atomic_open
from tlcl.tracking.calibration import Calibration, read_calibration
from tlcl.tracking.predictions import read_predictions

MODEL = "model.onnx"
TOLERANCE = 1e-4  # of a probability
RANDOM, TESTED = 8, 256  # images by which an export is checked, at most


class Exported(NamedTuple):
    """An export and how it was checked.

    Attributes:
        path: of the file.
        random, tested: how many images of either kind it was checked on.
        difference: the largest of a probability to the network's, in full precision.
        recorded: the largest to the probabilities that the run recorded of these test images, in its own precision;
            None without them.
        precision: of the run, in words.
    """

    path: Path
    random: int
    tested: int
    difference: float
    recorded: float | None
    precision: str


def metadata(labels: Labels, temperature: float) -> dict[str, str]:
    """What the model says of itself to whoever feeds it."""
    size, channels, colours = labels.size, labels.channels, "RGB" if labels.channels == 3 else "grey"
    return {
        "classes": json.dumps(labels.classes, ensure_ascii=False),
        "size": str(size),
        "channels": str(channels),
        "temperature": str(temperature),
        "images": f"uint8 (N, {channels}, {size}, {size}), {colours}, 0 to 255: turned upright by EXIF, the centre "
        f"square, resized to {size} pixels (bicubic)",
        "probabilities": "float32 (N, classes), each row in the order of classes, with sum 1",
        "tlcl": tlcl.__version__,
    }


def test_images(config: Config, labels: Labels) -> ImageTensors | None:
    """The run's test images; None when they are not to be had any more, or have another size than they had."""
    try:
        test = load_source(config.data, config.cache_dir).test
    except UserError:
        return None
    shape = (labels.channels, labels.size, labels.size)
    return test if len(test) and tuple(test.images.shape[1:]) == shape else None


def recorded_probabilities(
    run_dir: Path, config: Config, calibration: Calibration, test: ImageTensors, chosen: Tensor
) -> Tensor | None:
    """What the run recorded of some of its test images, (n, K), with its temperature.

    None where its record is of others, or of the classes of each image's task alone.
    """
    recorded = read_predictions(run_dir)
    if recorded is None or not torch.equal(torch.from_numpy(recorded.labels), test.labels):
        return None
    known = recorded.probabilities[chosen.numpy()]
    if config.continual is None:
        return torch.from_numpy(calibration.calibrated(known))
    # A continual run records its answers after the temperature.
    return None if config.continual.scenario == "task_incremental" else torch.from_numpy(known)


def export_run(run_dir: Path, out: Path | None) -> Exported:
    """Write the ONNX model of a finished run, once onnxruntime gives what the network gives.

    Args:
        out: the file; None: RUN_DIR/model.onnx.

    Raises:
        UserError: no finished run, or one that answers by its method's own rule; a package is missing; the network
            cannot be exported; or the file cannot be written.
        TrainingError: onnxruntime gives something else than the network; then nothing is written.
    """
    require_onnx()
    classifier, labels, config = load_run(run_dir)
    if isinstance(classifier, SplitNetwork) and isinstance(classifier.rest, MethodScores):
        method = config.method.name if config.method else ""
        raise UserError(f"{run_dir} answers by the rule of method={method}, not by a network alone: take another")
    calibration, out = read_calibration(run_dir), out or run_dir / MODEL
    temperature = calibration.temperature or 1.0
    network = network_of(classifier)
    network.chunks = False  # one graph for batches of every size
    net = ClassProbabilities(network, temperature).cpu().eval()
    content = to_onnx(net, (labels.channels, labels.size, labels.size), metadata(labels, temperature))

    shape = (RANDOM, labels.channels, labels.size, labels.size)
    images = torch.randint(0, 256, shape, generator=generator(config.seed, "export")).to(torch.uint8)
    test, known = test_images(config, labels), None
    if test is not None:
        chosen = torch.linspace(0, len(test) - 1, min(TESTED, len(test))).long()
        known = recorded_probabilities(run_dir, config, calibration, test, chosen)
        images = torch.cat([images, test.images[chosen]])
    answers = torch.cat([run_onnx(content, images[:1]), run_onnx(content, images[1:])])  # batches of two sizes
    difference = float((answers - in_batches(net, images, batch_size=BATCH)).abs().max())
    if not difference <= TOLERANCE:
        raise TrainingError(
            f"{out} is not written: its probabilities in onnxruntime are up to {difference:.1e} off those of the "
            f"network, more than {TOLERANCE:.0e}"
        )
    try:
        with atomic_open(out) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from None
    precision, frozen = config.trainer.precision, config.trainer.of_frozen
    words, recorded = precision if precision == frozen else f"{precision}, frozen blocks in {frozen}", None
    if known is not None:
        recorded = float((answers[RANDOM:] - known).abs().max())
    return Exported(out, RANDOM, len(images) - RANDOM, difference, recorded, words)
