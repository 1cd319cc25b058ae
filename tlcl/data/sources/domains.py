"""`data=domains`: one domain of a folder of domains, each with one folder a class."""

from dataclasses import dataclass, fields
from pathlib import Path

from tlcl.config.registry import register
from tlcl.data.image_tensors import Source
from tlcl.data.sources.image_folder import ImageFilesConfig, ImageFolderConfig, load_image_folder
from tlcl.errors import UserError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass
class DomainsConfig(ImageFilesConfig):
    root: str = "???"
    domain: str = "???"


def names_of(root: Path) -> dict[str, Path]:
    """Domain -> its folder or archive, in alphabetical order; what is hidden, and other files, are no domains.

    Raises:
        UserError: there is no such folder.
    """
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(
            f"data.root={root} must be a folder of domains, each a folder (or archive) of class folders: "
            f"{error.strerror or error}"
        ) from None
    found: dict[str, Path] = {}
    for path in entries:
        ending = next((end for end in ARCHIVES if path.name.lower().endswith(end)), "")
        if not path.name.startswith(".") and (ending or path.is_dir()):
            found.setdefault(path.name[: len(path.name) - len(ending)], path)
    return found


def as_folder(config: DomainsConfig) -> ImageFolderConfig:
    """The domain as a data set of its own.

    Raises:
        UserError: there is no such domain.
    """
    root = Path(config.root).expanduser()
    known = names_of(root)
    if config.domain not in known:
        there = ", ".join(known) or "none"
        raise UserError(f"data.domain={config.domain} is not in data.root={config.root}; there are: {there}")
    shared = {one.name: getattr(config, one.name) for one in fields(ImageFilesConfig)}
    return ImageFolderConfig(**{**shared, "source": "image_folder"}, train=str(known[config.domain]))


@register("data", "domains", DomainsConfig)
def load_domain(config: DomainsConfig, cache_dir: str | Path) -> Source:
    """The domain's images; `test_fraction` of them are held out for the test, the same for every seed."""
    return load_image_folder(as_folder(config), cache_dir)
