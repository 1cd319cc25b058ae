"""From config to what learns: network, method, and what is kept of them at the end."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlcl.config.schema import Config
from tlcl.continual.inputs import Frozen, cache_dtype, frozen_for
from tlcl.continual.methods.base import Method, Network, Setting
from tlcl.continual.methods.registry import build_method, method_class
from tlcl.continual.stream import DOMAIN, Stream, build_stream
from tlcl.data.image_tensors import Source
from tlcl.data.versions import Versions
from tlcl.errors import UserError
from tlcl.finetuning.optimizer import block_learning_rates
from tlcl.models.blocks import BESIDE, FEATURES, Backbone, Blocks
from tlcl.models.build import build_model
from tlcl.models.tail import Given, SplitNetwork, Tail
from tlcl.prefix_cache.activations import FrozenBlocks
from tlcl.security.untrusted import Labels
from tlcl.system.files import atomic_open
from tlcl.system.safe_load import NotTensors, load_tensors
from tlcl.tracking.records import RunDirectory

METHOD_STATE = "method.pt"


def method_for(
    config: Config, net: Blocks, competing: Tensor, image_shape: tuple[int, ...], frozen: Frozen | None
) -> tuple[Network, Method]:
    """What the method sees of the network, and the method in its state before the first task.

    Args:
        competing: see `Stream.competing`.
        image_shape: of one stored image, (C, H, W).
        frozen: see `frozen_for`.
    """
    assert config.method is not None
    network: Network = net
    shape, dtype, features = image_shape, torch.uint8, net.classifier.in_features
    if frozen is not None:
        images = torch.zeros((2, *image_shape), dtype=torch.uint8)
        device = net.inputs.mean.device
        blocks = FrozenBlocks(
            net.eval(), images, frozen.versions, device, config.trainer.of_frozen, progress=False
        )
        layout = blocks.layout(frozen.place, cache_dtype(config, method_class(config.method)))
        shape, dtype = layout.example_shape, layout.dtype
        ndim = len(shape) + (1 if frozen.versions.count == 1 else 0)
        if BESIDE in frozen.place:
            network, features = Given(), shape[0]
        else:
            network = Tail(net, frozen.place, ndim, channels_last=config.trainer.channels_last)
    optim = config.optim
    rates = block_learning_rates(optim.lr, optim.block_lr_decay, optim.block_lr, net.names)
    rate = rates["head"] if optim.name == "sgd" else None
    setting = Setting(competing, shape, dtype, features, config.seed, rate, optim.momentum)
    return network, build_method(config.method, setting, network)


def check(config: Config, stream: Stream) -> None:
    """That method, scenario and head fit each other.

    Raises:
        UserError: they do not.
    """
    assert config.method is not None
    assert config.continual is not None
    method, scenario = method_class(config.method), config.continual.scenario
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
    if config.continual.head == "kept" and scenario == DOMAIN and not stream.source.domains:
        raise UserError("continual.head=kept: in the domain_incremental scenario the outputs are no classes")


class MethodScores(nn.Module):
    """The method's inputs in, its scores out, divided by the run's temperature."""

    def __init__(self, network: Network, method: Method, temperature: float = 1.0) -> None:
        super().__init__()
        self.network, self.method, self.temperature = network, method, temperature

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> scores (B, K); -inf for classes that have not come."""
        scores = self.method.predict(self.network, inputs) / self.temperature
        return scores.masked_fill(~self.method.seen, -torch.inf)


class FullPrecisionHead(nn.Module):
    """Features in, logits out, never in a mixed precision.

    The weights of a closed-form method give differences of large numbers, which are lost in 16 bits.
    """

    def __init__(self, net: Blocks) -> None:
        super().__init__()
        self.classifier = net.classifier

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K)."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.classifier(features.float())
        return logits


def save_method(
    directory: RunDirectory, net: Blocks, method: Method, frozen: Frozen | None, temperature: float = 1.0
) -> None:
    """Keep what answers beside the network: as the last layer's weights where that says it all, else on its own.

    Args:
        temperature: by which the method's own scores are divided, in the last layer's weights too; a network that
            answers by itself stays as it was trained.
    """
    layer = method.as_last_layer()
    if layer is not None:
        with torch.no_grad():
            net.classifier.weight.copy_(layer[0] / temperature)
            net.classifier.bias.copy_(layer[1] / temperature)
    elif not answers_itself(method):
        with atomic_open(directory.path / METHOD_STATE) as file:
            place = frozen.place if frozen else None
            state = {name: value for name, value in method.state_dict().items() if name not in method.accumulators}
            kept = {"place": place, "state": state, "temperature": temperature}
            torch.save(kept, file)


def answers_itself(method: Method) -> bool:
    """Whether the network answers as it was trained, without a rule of the method's own."""
    return method.as_last_layer() is None and type(method).predict is Method.predict


def trained_classifier(config: Config, labels: Labels, net: Blocks, run_dir: Path) -> Blocks | SplitNetwork:
    """What classifies images after the run in `run_dir`: `net` itself, or its method where that has the answer.

    Args:
        labels: the run's `labels.json`.
        net: with the run's weights loaded.
    """
    if config.method is None:
        return net
    if not (run_dir / METHOD_STATE).is_file():
        closed_form = method_class(config.method).closed_form
        return SplitNetwork(net, FEATURES, FullPrecisionHead(net)) if closed_form else net
    everything = torch.ones(len(labels.classes), len(labels.classes), dtype=torch.bool)
    shape = (labels.channels, labels.size, labels.size)
    try:
        kept = load_tensors(run_dir / METHOD_STATE)
        frozen = None
        if kept["place"]:
            kind = method_class(config.method)
            # The place of a closed form may hang on the weights that it was chosen with.
            frozen = Frozen(kept["place"], Versions(1)) if kind.closed_form else frozen_for(config, net, kind)
        network, method = method_for(config, net, everything, shape, frozen)
        method.load_state_dict({**{name: method.get_buffer(name) for name in method.accumulators}, **kept["state"]})
    except (NotTensors, OSError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{run_dir / METHOD_STATE} does not fit its config.yaml: {reason}") from None
    rest = MethodScores(network, method, float(kept.get("temperature", 1.0)))  # runs of before have none
    return SplitNetwork(net, frozen.place if frozen else None, rest)


class ContinualLearner(NamedTuple):
    """What learns, before anything is trained; `network` is what `method` sees of `net`: all after `frozen`."""

    stream: Stream
    net: Blocks
    backbone: Backbone
    network: Network
    method: Method
    frozen: Frozen | None


def prepare(config: Config, source: Source) -> ContinualLearner:
    """Tasks, network and method as the config has them, without weights.

    Raises:
        UserError: they do not fit each other or the data: every mistake that shows without training.
    """
    assert config.continual is not None
    assert config.method is not None
    stream = build_stream(
        source, config.continual, train_size=config.data.train_size, val_size=config.data.val_size, seed=config.seed
    )
    check(config, stream)
    net, backbone = build_model(config.model, stream.num_outputs, config.seed)
    if config.trainer.channels_last:  # before a method copies the network
        net.to(memory_format=torch.channels_last)
    frozen = frozen_for(config, net, method_class(config.method))
    shape = tuple(stream.source.pool.images.shape[1:])
    network, method = method_for(config, net, stream.competing, shape, frozen)
    return ContinualLearner(stream, net, backbone, network, method, frozen)
