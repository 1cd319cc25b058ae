"""From config to what learns: network, method, and what is kept of them at the end."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.atomic import atomic_open
from tlcl.config import Config
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.continual.methods.registry import METHODS, build_method
from tlcl.continual.stream import DOMAIN, Stream
from tlcl.errors import UserError
from tlcl.features import LastLayer
from tlcl.finetuning.run import start_weights
from tlcl.models.blocks import Backbone, Blocks
from tlcl.models.weights import load_kept_head
from tlcl.tracking.records import RunDirectory

METHOD_STATE = "method.pt"


def on_features(config: Config, method: type[Method]) -> bool:
    """Whether the network's last layer alone works, on features that are computed once.

    So it does for closed-form methods, which see each image once, as it is; and for any other when the schedule
    never thaws more than the head and nothing is augmented.
    """
    head_only = config.schedule.trainable(config.trainer.epochs - 1) == {"head"}
    augmented = config.data.crop_padding > 0 or config.data.flip
    return method.closed_form or (head_only and not augmented)


def method_for(
    config: Config, net: Blocks, competing: Tensor, image_shape: tuple[int, ...]
) -> tuple[Network, Method]:
    """What the method sees of the network, and the method in its state before the first task.

    Args:
        competing: see `Stream.competing`.
        image_shape: of one stored image, (C, H, W).
    """
    assert config.method is not None
    size = net.classifier.in_features
    network: Network = net
    shape, dtype = image_shape, torch.uint8
    if on_features(config, METHODS[config.method.name]):
        network, shape, dtype = LastLayer(net), (size,), torch.float32
    setting = Setting(competing, shape, dtype, size, config.seed)
    return network, build_method(config.method, setting, network)


def check(config: Config, stream: Stream) -> None:
    """That method, scenario and head fit each other.

    Raises:
        UserError: they do not.
    """
    assert config.method is not None
    assert config.continual is not None
    method, scenario = METHODS[config.method.name], config.continual.scenario
    if method.needs_new_classes and scenario == DOMAIN:
        raise UserError(
            f"method={config.method.name} works class by class; in the domain_incremental scenario no new classes "
            "come: choose another method or scenario"
        )
    lone = [task for task in stream.tasks if len(task.split.train) < 2]
    if lone and not method.closed_form and method.trains_on != "all":
        raise UserError(
            f"task {lone[0].index + 1} has one training image, and BatchNorm cannot train on a batch of one; raise "
            "data.train_size or continual.classes_per_task"
        )
    if config.continual.head == "kept" and scenario == DOMAIN:
        raise UserError("continual.head=kept: in the domain_incremental scenario the outputs are no classes")


class MethodNetwork(nn.Module):
    """Images in, the method's scores out: what classifies with a trained method."""

    def __init__(self, net: Blocks, method: Method) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> scores (B, K); -inf for classes that have not come."""
        inputs = self.net.features(images) if len(self.method.setting.input_shape) == 1 else images
        network: Any = LastLayer(self.net) if inputs.ndim == 2 else self.net
        return self.method.predict(network, inputs).masked_fill(~self.method.seen, -torch.inf)


class FullPrecisionHead(nn.Module):
    """Images in, logits out, the last layer never in a mixed precision.

    The weights of a closed-form method give differences of large numbers, which are lost in 16 bits.
    """

    def __init__(self, net: Blocks) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> logits (B, K)."""
        features = self.net.features(images).float()
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.net.classifier(features)
        return logits


def save_method(directory: RunDirectory, net: Blocks, method: Method) -> None:
    """Keep what answers beside the network: as the last layer's weights where that says it all, else on its own."""
    layer = method.as_last_layer()
    if layer is not None:
        with torch.no_grad():
            net.classifier.weight.copy_(layer[0])
            net.classifier.bias.copy_(layer[1])
    elif type(method).predict is not Method.predict:
        with atomic_open(directory.path / METHOD_STATE) as file:
            torch.save(method.state_dict(), file)


def start_network(config: Config, stream: Stream, net: Blocks, backbone: Backbone) -> dict[str, Any]:
    """Load the weights, the head too where it is kept; returns what is recorded of them."""
    assert config.continual is not None
    origin = start_weights(config, net, backbone)
    if config.continual.head == "kept":
        load_kept_head(net, backbone, config.model.weights, stream.names)
    if config.trainer.channels_last:
        net.to(memory_format=torch.channels_last)
    return {**vars(origin), "head": config.continual.head}


def trained_classifier(config: Config, labels: dict[str, Any], net: Blocks, run_dir: Path) -> nn.Module:
    """What classifies images after the run in `run_dir`: `net` itself, or its method where that has the answer.

    Args:
        labels: the run's `labels.json`.
        net: with the run's weights loaded.
    """
    if config.method is None:
        return net
    if not (run_dir / METHOD_STATE).is_file():
        return FullPrecisionHead(net) if METHODS[config.method.name].closed_form else net
    everything = torch.ones(len(labels["classes"]), len(labels["classes"]), dtype=torch.bool)
    _, method = method_for(config, net, everything, (labels["channels"], labels["size"], labels["size"]))
    method.load_state_dict(torch.load(run_dir / METHOD_STATE, map_location="cpu", weights_only=True))
    return MethodNetwork(net, method)
