"""CIFAR-10 (Krizhevsky 2009) through torchvision's checked download."""

from pathlib import Path

import torch
from torchvision.datasets import CIFAR10

from tlcl.config import Cifar10Config
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.errors import UserError


def load_cifar10(config: Cifar10Config) -> Source:
    """`data=cifar10`: 50,000 training and 10,000 test images, 32x32 RGB.

    Raises:
        UserError: the archive is neither at `data.root` nor to be downloaded.
    """
    root = Path(config.root).expanduser()
    splits = []
    for train in (True, False):
        try:
            split = CIFAR10(str(root), train=train, download=config.download)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"CIFAR-10 is not at data.root={root} and could not be downloaded ({error}); put "
                "cifar-10-python.tar.gz there, or use data=image_folder with class folders of the images"
            ) from None
        images = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
        splits.append(ImageTensors(images, torch.tensor(split.targets), tuple(split.classes)))
    return Source(pool=splits[0], test=splits[1])
