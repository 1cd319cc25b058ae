"""`data=domains`: one domain of a folder of domains, each with one folder a class."""

from dataclasses import dataclass, fields
from pathlib import Path

from tlcl.config.registry import register
from tlcl.data.image_tensors import Source
from tlcl.data.images.walk import is_litter
from tlcl.data.sources.class_names import composed
from tlcl.data.sources.image_folder import ImageFilesConfig, ImageFolderConfig, load_image_folder
from tlcl.errors import UserError
from tlcl.system.text import plain

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass
class DomainsConfig(ImageFilesConfig):
    root: str = "???"
    domain: str = "???"


def names_of(root: Path) -> dict[str, Path]:
    """Domain -> its folder or archive, in alphabetical order; litter (`is_litter`) and other files are no domains.

    Names are in one form, as those of classes are.

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
        if not is_litter(path.name) and (ending or path.is_dir()):
            found.setdefault(composed(plain(path.name[: len(path.name) - len(ending)])), path)
    return dict(sorted(found.items()))


def as_folder(config: DomainsConfig) -> ImageFolderConfig:
    """The domain as a data set of its own.

    Raises:
        UserError: there is no such domain.
    """
    root = Path(config.root).expanduser()
    known, domain = names_of(root), composed(config.domain)
    if domain not in known:
        there = ", ".join(known) or "none"
        raise UserError(f"data.domain={domain} is not in data.root={config.root}; there are: {there}")
    shared = {one.name: getattr(config, one.name) for one in fields(ImageFilesConfig)}
    return ImageFolderConfig(**{**shared, "source": "image_folder"}, train=str(known[domain]))


@register("data", "domains", DomainsConfig)
def load_domain(config: DomainsConfig, cache_dir: str | Path) -> Source:
    """The domain's images; `test_fraction` of them are held out for the test, the same for every seed."""
    return load_image_folder(as_folder(config), cache_dir)
