"""The small CNN of the domain-adaptation papers: two convolutions and two hidden layers, learned from scratch."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt
from torch import Tensor, nn

from tlcl.config.registry import register
from tlcl.config.schema import ModelConfig
from tlcl.errors import UserError
from tlcl.models.blocks import Backbone

SMALLEST = 16  # pixels, of which one remains behind the convolutions
MAPS, HIDDEN = (32, 48), 100


def remaining(size: int) -> int:
    """Height and width behind both convolutions (5x5, no padding) and poolings (2x2) of an image of `size`."""
    for _ in MAPS:
        size = (size - 4) // 2
    return size


@dataclass
class SmallCNNConfig(ModelConfig):
    all_blocks: ClassVar[tuple[str, ...]] = ("stem", "layer1", "layer2", "layer3", "head")

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0


def build(num_classes: int, config: SmallCNNConfig) -> Mapping[str, nn.Module]:
    """Blocks as in Ganin et al. 2016 ("DANN", the MNIST network) and Bousmalis et al. 2016 ("DSN").

    Convolution 5x5 to 32 maps, max-pooling, convolution 5x5 to 48 maps, max-pooling, two hidden layers of 100,
    ReLU after each. Dropout is the head's, so that what `layer3` gives is free of it, as CCSA's authors align it;
    without it (`config.dropout=0`) the network is theirs. Initialised as in Keras (Glorot & Bengio 2010).

    Raises:
        UserError: images too small for two convolutions.
    """
    size = config.input_size
    if size < SMALLEST:
        raise UserError(f"model.input_size={size} must be at least {SMALLEST} for model=small_cnn")
    first, second = MAPS
    blocks = {
        "stem": nn.Sequential(OrderedDict(conv=nn.Conv2d(3, first, 5), relu=nn.ReLU(), pool=nn.MaxPool2d(2))),
        "layer1": nn.Sequential(
            OrderedDict(conv=nn.Conv2d(first, second, 5), relu=nn.ReLU(), pool=nn.MaxPool2d(2))
        ),
        "layer2": nn.Sequential(
            OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(second * remaining(size) ** 2, HIDDEN), relu=nn.ReLU())
        ),
        "layer3": nn.Sequential(OrderedDict(fc=nn.Linear(HIDDEN, HIDDEN), relu=nn.ReLU())),
        "head": nn.Sequential(OrderedDict(drop=nn.Dropout(config.dropout), fc=nn.Linear(HIDDEN, num_classes))),
    }
    for block in blocks.values():
        for module in block.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
    return blocks


def native_key(key: str) -> str:
    """`blocks.stem.conv.weight` -> `stem.conv.weight`: no other library has this network."""
    return key.removeprefix("blocks.")


def imagenet() -> dict[str, Tensor]:
    """There are none.

    Raises:
        UserError: always.
    """
    raise UserError("there are no ImageNet weights of model=small_cnn; use model.weights=none or letters")


# Pixels from 0 to 1, as CCSA's authors have them.
BACKBONE = Backbone(
    name="small_cnn",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    build=build,
    native_key=native_key,
    imagenet=imagenet,
    head="head.",
)
register("model", BACKBONE.name, SmallCNNConfig)(BACKBONE)
