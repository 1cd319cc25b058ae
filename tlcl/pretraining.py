"""`model.weights=letters`: pretrained once on the embedded letters, kept by the hash of its recipe."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

import tlcl
from tlcl.compose import composed_config
from tlcl.config import Config
from tlcl.models.weights import RUN_MODEL, file_sha256
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)


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
    if hasattr(config.model, "stem"):
        overrides.append(f"model.stem={config.model.stem}")
    recipe = composed_config(overrides)
    recipe.cache_dir = config.cache_dir
    parts = {
        "recipe": {key: OmegaConf.to_container(recipe[key]) for key in ("data", "model", "optim", "thaw")},
        "trainer": {key: recipe.trainer[key] for key in ("epochs", "precision", "channels_last", "select")},
        "versions": [tlcl.__version__, torch.__version__.split("+")[0]],
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    recipe.run_dir = str(Path(config.cache_dir) / "pretrained" / f"{config.model.name}-letters-{digest}")
    return recipe


def pretrained_on_letters(config: Config, run: Callable[[DictConfig, RunDirectory], object]) -> Path:
    """The run directory of the pretrained backbone; trained now by `run` unless it is there, whole and unchanged.

    An interrupted pretraining goes on from its last checkpoint; one whose weights no longer have the hash in
    their summary is made anew.
    """
    recipe = letters_recipe(config)
    path = Path(recipe.run_dir)
    summary = path / "summary.json"
    if summary.is_file() and (path / RUN_MODEL).is_file():
        wanted = json.loads(summary.read_text()).get("model_sha256")
        if wanted == file_sha256(path / RUN_MODEL):
            log.info("backbone pretrained on letters: %s (sha256 %s)", path, wanted[:12])
            return path
        log.warning("warning: %s does not have the hash in its summary; it is pretrained again", path / RUN_MODEL)
        summary.unlink()
        for old in (path / "checkpoints").glob("*.ckpt"):
            old.unlink()
    log.info("pretraining the backbone on letters, once; kept in %s", path)
    started = (path / "config.yaml").is_file()
    directory = RunDirectory(path, resume=started)
    try:
        run(recipe, directory)
    finally:
        directory.close()
    return path
