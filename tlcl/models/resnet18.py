"""torchvision's ResNet-18 (He et al. 2016) as blocks stem, layer1..layer4, head."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Annotated
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from tlcl.config.ranges import OneOf
from tlcl.config.registry import register
from tlcl.config.schema import ModelConfig
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone


@dataclass
class ResNet18Config(ModelConfig):
    stem: Annotated[str, OneOf("imagenet", "cifar")] = "imagenet"


def build(num_classes: int, config: ResNet18Config) -> Mapping[str, nn.Module]:
    """Blocks with a new last layer for `num_classes`.

    `config.stem=cifar` is the stem for 32-pixel images trained from scratch: 3x3 stride 1, no pooling
    (He et al. 2016, section 4.2; the ResNet-18 of the continual-learning papers).
    """
    net = resnet18(weights=None, num_classes=num_classes)
    if config.stem == "cifar":
        net.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    stem = OrderedDict(conv1=net.conv1, bn1=net.bn1, relu=net.relu)
    if config.stem == "imagenet":
        stem["maxpool"] = net.maxpool
    return {
        "stem": nn.Sequential(stem),
        "layer1": net.layer1,
        "layer2": net.layer2,
        "layer3": net.layer3,
        "layer4": net.layer4,
        "head": nn.Sequential(OrderedDict(avgpool=net.avgpool, flatten=nn.Flatten(), fc=net.fc)),
    }


def native_key(key: str) -> str:
    """`blocks.stem.conv1.weight` -> `conv1.weight`; `blocks.layer1.0...` -> `layer1.0...`."""
    _, block, rest = key.split(".", 2)
    return rest if block in ("stem", "head") else f"{block}.{rest}"


def imagenet() -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 weights, downloaded once by https and checked against the hash in their name.

    That is the beginning of their SHA-256. Later runs take the file as it lies in torch's cache, as tensors alone.
    """
    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except (URLError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"torchvision's ImageNet weights could not be downloaded or read ({reason}); without a network use "
            "model=efficientnet_lite0 (ImageNet weights from an installed package), model.weights=FILE "
            "(.pth or .safetensors), model.weights=letters or model.weights=none"
        ) from None


BACKBONE = Backbone(
    name="resnet18",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    build=build,
    native_key=native_key,
    imagenet=imagenet,
    head="fc.",
)
register("model", BACKBONE.name, ResNet18Config)(BACKBONE)
