"""What is said before a training begins: settings that do something else than they seem to."""

from pathlib import Path

from tlcl.config.schema import Config
from tlcl.finetuning.thaw import learning_parameters
from tlcl.models.blocks import Blocks
from tlcl.tracking.records import read_object


def resized_words(config: Config) -> str:
    """What is lost or invented between the stored images and the network; empty where they have one size."""
    stored, seen = getattr(config.data, "size", None), config.model.input_size
    if stored in (None, seen):
        return ""
    how, key = ("reduced", "model.input_size") if stored > seen else ("enlarged", "data.size")
    return (
        f"the images, stored at data.size={stored}, are {how} to model.input_size={seen} for the network; "
        f"{key}={max(stored, seen)} keeps their detail"
    )


def taught_size_words(config: Config) -> str:
    """That `model.weights` is a run whose network saw images of another size; else empty."""
    taught = read_object(Path(config.model.weights).expanduser() / "labels.json").get("input_size")
    if taught in (None, config.model.input_size):
        return ""
    return (
        f"the run of model.weights saw images of model.input_size={taught}, and this one has "
        f"model.input_size={config.model.input_size}; model.input_size={taught} goes on as it was trained"
    )


def idle_words(net: Blocks, thawed: frozenset[str], only: str) -> str:
    """That the thawed blocks have no parameter that `only` names, so that the head alone trains; else empty."""
    blocks = [name for name in net.names if name in thawed and name != "head"]
    if not blocks or any(True for name in blocks for _ in learning_parameters(net, name, only)):
        return ""
    return (
        f"warning: {', '.join(blocks)} have no parameters that thaw.only={only} names, so that the head alone "
        "trains; thaw.only=all trains all of them"
    )
