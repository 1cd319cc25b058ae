"""Where a run was begun: the folder that its relative paths are below."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tlcl.config.parse import PATHS
from tlcl.errors import UserError
from tlcl.security.secrets import leaves
from tlcl.system.text import shown
from tlcl.tracking.environment import FOLDER
from tlcl.tracking.records import read_object

NAMED = ("train", "val", "test", "root", "weights")  # keys in which a text may be a path


def check_folder(run_dir: Path, composed: DictConfig) -> None:
    """That the relative paths of a recorded config are here, where they were when it was begun.

    Raises:
        UserError: one is not; the sentence names the folder in which it is.
    """
    begun = read_object(run_dir / "environment.json").get(FOLDER)
    if not begun or Path(begun) == Path.cwd():
        return
    for key, value in leaves(OmegaConf.to_container(composed)):
        name = key.rpartition(".")[2]
        if not isinstance(value, str) or not key.startswith(PATHS) or name not in NAMED:
            continue
        if name == "weights" and not Path(value).suffix and os.sep not in value:
            continue  # the name of some, whatever lies in the folder
        if value.strip() and not os.path.exists(value) and os.path.exists(os.path.join(begun, value)):
            raise UserError(
                f"{run_dir} was begun in {begun}, where {key}={shown(value)} is; give the command there"
            )
