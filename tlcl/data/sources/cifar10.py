"""CIFAR-10 (Krizhevsky 2009): downloaded by https, checked by its SHA-256, read by torchvision."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.hub import download_url_to_file
from torchvision.datasets import CIFAR10

from tlcl.config.registry import register
from tlcl.config.schema import DataConfig
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.errors import UserError

# Of cifar-10-python.tar.gz, as in keras/datasets/cifar10.py; the file has the MD5 that torchvision knows.
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def fetch(root: Path) -> None:
    """Have the archive in `root`. torchvision's own download would try http where https fails, and knows MD5 alone.

    Raises:
        RuntimeError: it has another hash.
        OSError: it cannot be downloaded or written.
    """
    archive = root / CIFAR10.filename
    if not archive.is_file():
        root.mkdir(parents=True, exist_ok=True)
        download_url_to_file(CIFAR10.url, str(archive), hash_prefix=SHA256)
        return
    with open(archive, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise RuntimeError(f"the {archive.name} there is damaged, its SHA-256 is not {SHA256}: remove it")


def read_split(root: Path, train: bool, download: bool) -> CIFAR10:
    """The files in `root`, each checked by torchvision before it is read; or else those of the archive.

    Raises:
        as `fetch`; RuntimeError: the files are not there, or not those of CIFAR-10.
    """
    try:
        return CIFAR10(str(root), train=train)
    except RuntimeError:
        if not download:
            raise
    fetch(root)
    return CIFAR10(str(root), train=train, download=True)  # unpacks


@dataclass
class Cifar10Config(DataConfig):
    root: str = "???"
    download: bool = True


@register("data", "cifar10", Cifar10Config)
def load_cifar10(config: Cifar10Config, cache_dir: str) -> Source:
    """`data=cifar10`: 50,000 training and 10,000 test images, 32x32 RGB.

    Raises:
        UserError: the archive is neither at `data.root` nor to be downloaded.
    """
    root = Path(config.root).expanduser()
    splits = []
    for train in (True, False):
        try:
            split = read_split(root, train, config.download)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"CIFAR-10 is not at data.root={root} and could not be downloaded ({error}); put "
                "cifar-10-python.tar.gz there, or use data=image_folder with class folders of the images"
            ) from None
        images = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
        splits.append(ImageTensors(images, torch.tensor(split.targets), tuple(split.classes)))
    return Source(pool=splits[0], test=splits[1])
