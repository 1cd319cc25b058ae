"""What the training programs share: the same images, network, optimizer's settings and last line."""

import json
import sys
from typing import Any, NamedTuple

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

EPOCHS, BATCH, RATE, DECAY = 25, 32, 1e-3, 0.05
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


class Given(NamedTuple):
    """What the command line names.

    Attributes:
        augmented, plain: the images to train on, cropped and flipped at random, and as they are.
        asked: the test images.
        net: the pretrained network with a new head.
    """

    augmented: ImageFolder
    plain: ImageFolder
    asked: ImageFolder
    net: Any
    seed: int


def given() -> Given:
    """By TRAIN TEST WEIGHTS SIZE SEED."""
    train, test, weights, size, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    torch.manual_seed(seed)
    augment = timm.data.create_transform(
        (3, size, size), is_training=True, scale=(0.35, 1.0), color_jitter=0.0, mean=MEAN, std=STD
    )
    plain = timm.data.create_transform((3, size, size), mean=MEAN, std=STD, crop_pct=1.0)
    asked = ImageFolder(test, plain)
    net: Any = timm.create_model("tf_efficientnet_lite0", checkpoint_path=weights)
    net.reset_classifier(len(asked.classes))
    return Given(ImageFolder(train, augment), ImageFolder(train, plain), asked, net, seed)


def answer(net: nn.Module, asked: ImageFolder) -> None:
    """Print the share of the test images that are right, and which ones."""
    net.eval()
    with torch.inference_mode():
        predicted = torch.cat([net(images).argmax(1) for images, _ in DataLoader(asked, 64)])
    right = predicted == torch.tensor(asked.targets)
    print(json.dumps({"accuracy": float(right.double().mean()), "right": right.tolist()}))
