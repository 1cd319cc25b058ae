"""`model.weights=letters`: pretrained once on the embedded letters, kept by the hash of its recipe."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

import tlcl
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.distributed.collectives import in_group
from tlcl.errors import UserError
from tlcl.jobs.registry import run as run_here
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.build import backbone_of, build_model
from tlcl.models.weights import RUN_MODEL, Origin, apply_weights, file_sha256
from tlcl.system.files import one_at_a_time
from tlcl.tracking.records import RunDirectory, read_object

log = logging.getLogger(__name__)
# Keys that came later, at values that change nothing: weights that were trained before are found with them.
LATER = {
    "data.crop_area": None, "data.colour": 0.0, "data.mixup": 0.0, "data.crop_head": False,
    "data.balanced_batches": False, "optim.label_smoothing": 0.0, "optim.head": "new",
    "optim.batch_norm": "train", "optim.class_weights": "none", "thaw.of": None, "model.cut": None,
    "thaw.blocks": None, "thaw.only": "all", "thaw.patience": None,
    "optim.l2_sp": 0.0, "optim.ema": 0.0,
    "model.lora": 0, "model.lora_alpha": 16,
}  # fmt: skip
# Values that were written otherwise when every network had five blocks before its head.
BEFORE = {("thaw.depth", "all"): 5}
Run = Callable[[Config, RunDirectory], object]


def start_weights(config: Config, net: Blocks, backbone: Backbone) -> Origin:
    """Load what `model.weights` names into `net`; the letters' backbone is trained first when it is not there."""
    if config.model.weights != "letters":
        return apply_weights(net, backbone, config.model.weights, cut=config.model.cut is not None)
    origin = apply_weights(
        net, backbone, str(pretrained_on_letters(config)), cut=config.model.cut is not None
    )
    return Origin("letters", origin.path, origin.sha256)


def ready_weights(config: Config) -> None:
    """Train the letters' backbone, when it is wanted and not there: alone, before other processes join."""
    if config.model.weights == "letters":
        pretrained_on_letters(config)


def check_weights(config: Config) -> None:
    """See that what `model.weights` names can be had; the letters' backbone need not be there yet.

    Raises:
        UserError: it cannot, or does not fit the model.
    """
    if config.model.weights not in ("letters", "none"):
        apply_weights(
            *build_model(config.model, 2, config.seed), config.model.weights, cut=config.model.cut is not None
        )


def letters_recipe(config: Config) -> DictConfig:
    """The composed config that pretrains `config`'s backbone on the letters.

    Everything that the weights depend on is in it: the seed of the target run is not, so that runs of all
    seeds start from the same backbone.
    """
    overrides = [
        "+experiment=pretrain_letters",
        "logger=none",
        f"model={config.model.name}",
        "model.weights=none",
        f"model.input_size={config.model.input_size}",
        f"trainer.accelerator={config.trainer.accelerator}",
        f"trainer.progress={config.trainer.progress}",
        "trainer.select=last",
    ]
    own = [key for key in ("stem", "arch") if hasattr(config.model, key)]
    overrides += [f"model.{key}={getattr(config.model, key)}" for key in own]
    recipe = composed_config(overrides)
    recipe.cache_dir = config.cache_dir
    code = backbone_of(config.model).code
    if code:
        recipe.extend = config.extend
    parts = {
        "recipe": {
            group: _without_later(group, cast(dict, OmegaConf.to_container(recipe[group])))
            for group in ("data", "model", "optim", "thaw")
        },
        "trainer": {key: recipe.trainer[key] for key in ("epochs", "precision", "channels_last", "select")},
        "versions": [tlcl.__version__, torch.__version__.split("+")[0]],
        **({"code": code} if code else {}),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    recipe.run_dir = str(Path(config.cache_dir) / "pretrained" / f"{config.model.title}-letters-{digest}")
    return recipe


def _without_later(group: str, keys: dict[Any, Any]) -> dict[Any, Any]:
    kept = {key: value for key, value in keys.items() if LATER.get(f"{group}.{key}", LATER) != value}
    return {key: BEFORE.get((f"{group}.{key}", str(value)), value) for key, value in kept.items()}


def _whole(path: Path) -> bool:
    """Whether a finished pretraining is there, with the weights that its summary names."""
    weights = path / RUN_MODEL
    return weights.is_file() and read_object(path / "summary.json").get("model_sha256") == file_sha256(weights)


def pretrained_on_letters(config: Config, run: Run = run_here) -> Path:
    """The run directory of the pretrained backbone; trained now by `run` unless it is there, whole and unchanged.

    An interrupted pretraining resumes from its last checkpoint; one whose weights no longer have the hash in
    their summary is made anew. Of several processes that need it one trains and the others wait.
    """
    recipe = letters_recipe(config)
    path = Path(recipe.run_dir)

    def waiting() -> None:
        log.info("waiting for another process that pretrains the backbone on letters in %s", path)

    if in_group() and not _whole(path):  # the first process has trained it
        raise UserError(f"{path} is not there on this node; cache_dir must be a folder that all nodes see")
    if not _whole(path):
        with one_at_a_time(path.with_name(f"{path.name}.lock"), waiting):
            if not _whole(path):  # another process may have trained it meanwhile
                _pretrain(recipe, path, run)
    log.info("backbone pretrained on letters: %s", path)
    return path


def _pretrain(recipe: DictConfig, path: Path, run: Run) -> None:
    if (path / "summary.json").is_file():
        log.warning("warning: %s does not have the hash in its summary; it is pretrained again", path / RUN_MODEL)
        (path / "summary.json").unlink()
        for old in (path / "checkpoints").glob("*.ckpt"):
            old.unlink()
    log.info("pretraining the backbone on letters, once; kept in %s", path)
    directory = RunDirectory(path, resume=(path / "config.yaml").is_file())
    try:
        run(parse_config(recipe), directory)
    finally:
        directory.close()
