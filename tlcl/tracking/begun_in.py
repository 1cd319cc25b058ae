"""Where a run was begun: the folder that its relative paths are below."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tlcl.config.parse import PATHS
from tlcl.errors import UserError
from tlcl.security.secrets import leaves
from tlcl.system.text import shown
from tlcl.tracking.environment import FOLDER
from tlcl.tracking.records import read_object

CHOICES = ("data.source", "source.source", "model.name")  # names, whatever lies in the folder


def check_folder(run_dir: Path, composed: DictConfig) -> None:
    """That the relative paths of a recorded config are here, where they were when it was begun.

    Raises:
        UserError: one is not; the sentence names the folder in which it is.
    """
    begun = read_object(run_dir / "environment.json").get(FOLDER)
    if not begun or Path(begun) == Path.cwd():
        return
    for key, value in leaves(OmegaConf.to_container(composed)):
        if not isinstance(value, str) or not value.strip() or not key.startswith(PATHS) or key in CHOICES:
            continue
        if not Path(value).exists() and Path(begun, value).exists():
            raise UserError(
                f"{run_dir} was begun in {begun}, where {key}={shown(value)} is; give the command there"
            )
