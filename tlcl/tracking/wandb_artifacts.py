"""Exported models as W&B artifacts of type `model`: what a run made, and what it began with."""

import re
from pathlib import Path
from typing import Any

import wandb

from tlcl.models.weights import RUN_MODEL, file_sha256
from tlcl.tracking.finished_run import read_run
from tlcl.tracking.records import read_object
from tlcl.tracking.run_history import flattened

TYPE = "model"
BESIDE = ("labels.json", "config.yaml")  # what one needs to use the weights
DESCRIBED = ("job", "test_acc", "final_accuracy", "source_test_acc", "weights/source", "weights/sha256")


def model_artifact(model: Path, *, upload: bool) -> wandb.Artifact:
    """The artifact of an exported model, or of any file with weights.

    Name and digest follow from the files' contents alone, so a run that begins with a model names the very
    version that the run which made it logged, uploaded or not.

    Args:
        model: `model.safetensors` of a run directory, or another file.
        upload: whether W&B gets the weights, or their place, size and checksum.
    """
    folder, digest = model.resolve().parent, file_sha256(model)
    run = read_run(folder) if model.name == RUN_MODEL and (folder / "labels.json").is_file() else None
    metadata: dict[str, Any] = {"sha256": digest}
    if run is not None:
        metadata |= flattened({"labels": read_object(folder / "labels.json")})
        metadata |= {key: run.flat_summary[key] for key in DESCRIBED if key in run.flat_summary}
    label = re.sub(r"[^A-Za-z0-9_.-]+", "_", model.stem if run is None else run.name)[:100]
    artifact = wandb.Artifact(f"{label}-{digest[:12]}", type=TYPE, metadata=metadata)
    # Immutable: a run directory's files do not change, and no copy of each is made in the home directory.
    if upload:
        artifact.add_file(str(folder / model.name), policy="immutable", skip_cache=True)
    else:
        artifact.add_reference((folder / model.name).as_uri(), name=model.name)
    for name in BESIDE if run is not None else ():
        artifact.add_file(str(folder / name), policy="immutable", skip_cache=True)
    return artifact


def log_lineage(run: Any, run_dir: Path, summary: dict[str, Any], *, upload: bool) -> None:
    """Tell W&B the model that `run` began with, where it was a file, and the one it made.

    Args:
        run: the W&B run.
        summary: what `summary.json` holds.
    """
    began_with = (summary.get("weights") or {}).get("path")
    if began_with is not None and Path(began_with).is_file():
        # `use_artifact` refuses to work offline and waits for the server online. This is the call it makes itself;
        # the server links the version that has the same digest, or makes it.
        run._log_artifact(
            model_artifact(Path(began_with), upload=False), is_user_created=True, use_after_commit=True
        )
    run.log_artifact(model_artifact(run_dir / RUN_MODEL, upload=upload))
