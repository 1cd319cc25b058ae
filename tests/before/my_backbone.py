"""model=resnet34: torchvision's ResNet-34 as the blocks stem, layer1 .. layer4, head."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn
from torchvision.models import ResNet34_Weights, resnet34

from tlcl.config import ModelConfig
from tlcl.extend import register_backbone
from tlcl.models import resnet18


@dataclass
class ResNet34Config(ModelConfig):
    weights: str = "letters"  # letters | imagenet | none | a .pth or .safetensors file | a run directory
    input_size: int = 32  # images are resized to this


def build(num_classes: int, config: ResNet34Config) -> Mapping[str, nn.Module]:
    """The last block is `head`, a Sequential that ends in the Linear for the new classes."""
    net = resnet34(weights=None, num_classes=num_classes)
    layers = {name: getattr(net, name) for name in ("layer1", "layer2", "layer3", "layer4")}
    stem = nn.Sequential(OrderedDict(conv1=net.conv1, bn1=net.bn1, relu=net.relu, maxpool=net.maxpool))
    head = nn.Sequential(OrderedDict(avgpool=net.avgpool, flatten=nn.Flatten(), fc=net.fc))
    return {"stem": stem, **layers, "head": head}


def imagenet() -> dict:
    """torchvision's weights, checked against their hash."""
    return dict(ResNet34_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True))


# Normalisation and names in torchvision's own files are those of ResNet-18.
register_backbone(replace(resnet18.BACKBONE, name="resnet34", build=build, imagenet=imagenet), ResNet34Config)
