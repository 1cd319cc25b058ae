"""What every job records at its end: test figures, the exported model, counts."""

from collections.abc import Iterable, Sequence

from safetensors.torch import save
from torch import Tensor
from torchmetrics.functional.classification import multiclass_stat_scores

from tlcl.config.schema import Config
from tlcl.data.equal_images import digests_of
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.finetuning.thaw import learning_parameters
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.lora import base_weights
from tlcl.models.weights import RUN_MODEL, file_sha256
from tlcl.statistics.class_figures import balanced_accuracy, macro_f1
from tlcl.system.files import atomic_open
from tlcl.tracking.calibration import Calibration
from tlcl.tracking.image_table import write_test_table
from tlcl.tracking.records import RunDirectory

MISTAKES = 25


def duplicates(source: Source) -> int:
    """How many test images are also, pixel for pixel, among the training and validation images."""
    pool = set(digests_of(source.pool))
    return sum(digest in pool for digest in digests_of(source.test))


def export(
    directory: RunDirectory, config: Config, net: Blocks, backbone: Backbone, classes: Sequence[str], images: Tensor
) -> str:
    """Write `model.safetensors` (the library's own key names) and `labels.json`; return the SHA-256.

    `images` (N, C, H, W) tells the stored images' channels and size.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in backbone.native_state(net).items()}
    with atomic_open(directory.path / RUN_MODEL) as file:
        # One metadata key alone: the library writes several in a random order, and equal runs give equal files.
        file.write(save(state, {"format": "pt"}))
    channels, size = images.shape[1:3]
    directory.write_json(
        "labels.json",
        {
            "classes": list(classes),
            "backbone": backbone.name,
            "channels": channels,
            "size": size,
            "input_size": config.model.input_size,
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        },
    )
    return file_sha256(directory.path / RUN_MODEL)


def record_test(
    directory: RunDirectory, probabilities: Tensor, test: ImageTensors, calibration: Calibration
) -> dict[str, float | None]:
    """Accuracy and loss on the test images; keeps every probability and the most confident mistakes.

    They are None where the images have no labels; then the table alone is written, whose confidence is calibrated;
    all else is not. `tested_classes` have test images; the mean recall and F1 are theirs.

    Args:
        probabilities: (N, K), rows sum to 1.
    """
    labels = test.labels
    calibrated = calibration.calibrated(probabilities.numpy())
    write_test_table(directory.path, test.names, labels.numpy(), calibrated, test.classes)
    if not test.labelled:
        return {"test_acc": None, "test_loss": None}
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    directory.write_predictions(labels, probabilities, mistakes, test.images[mistakes])
    scores = multiclass_stat_scores(predicted, labels, probabilities.shape[1], average=None)
    likelihood = probabilities.gather(1, labels[:, None]).clamp_min(1e-12)
    return {
        "test_acc": float((predicted == labels).double().mean()),
        "test_balanced_acc": float(balanced_accuracy(scores)),
        "test_macro_f1": float(macro_f1(scores)),
        "tested_classes": int((scores[:, 4] > 0).sum()),
        "test_loss": float(-likelihood.log().mean()),
    }


def parameter_counts(net: Blocks, trained: Iterable[str], only: str) -> dict[str, int]:
    """All parameters, and those of the blocks that were trained; with LoRA in them, its matrices alone.

    Args:
        only: which parameters train in a thawed block of the backbone, as `set_trainable` has it.
    """
    never = base_weights(net)
    learned = {one for name in trained for one in learning_parameters(net, name, only)} - never
    return {
        "total": sum(parameter.numel() for parameter in net.parameters()),
        "trained": sum(parameter.numel() for parameter in learned),
    }
