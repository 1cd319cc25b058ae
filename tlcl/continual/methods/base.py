"""What a continual-learning method is: hooks around a plain training step, with all of its state in state_dict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from tlcl.continual.stream import Task
from tlcl.data.datamodule import Batch
from tlcl.models.blocks import FEATURES, Blocks


class Network(Protocol):
    """What a method sees of the model: `Blocks`, or its last layer alone when the inputs are features."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> logits (B, K)."""

    def features(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> what the last layer takes (B, D)."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


@dataclass(frozen=True)
class Setting:
    """What a method must know before the first task.

    Attributes:
        competing: bool (K, K), see `Stream.competing`.
        input_shape, input_dtype: of one example: a uint8 image (C, H, W), or a float32 feature vector (D,).
        feature_size: D.
        seed: of the run, for what a method draws once.
        sgd_lr: learning rate of the last layer, with SGD; None with another optimizer.
        momentum: of SGD.
    """

    competing: Tensor
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    feature_size: int
    seed: int = 0
    sgd_lr: float | None = 0.03
    momentum: float = 0.0

    @property
    def num_outputs(self) -> int:
        return len(self.competing)


@dataclass(frozen=True)
class TaskData:
    """The training examples of a task, as index tensor over the pool.

    Attributes:
        inputs: what the network takes, (N, ...): images, or outputs of its frozen blocks.
        labels: int64 (N,).
        indices: int64 (n,), of the task's training examples.
        images: the pool's images as they are stored, uint8 (N, C, H, W), whatever the inputs are.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    images: Tensor

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) in the pool's order, not augmented, on `device`."""
        for part in self.indices.split(size):
            yield self.inputs[part].to(device), self.labels[part].to(device)


class Method(nn.Module):
    """A method is a subclass in a file of its own that overrides the hooks it uses.

    The order, for each task: `begin_task`; for each batch `begin_batch`, `loss`, backward, `on_gradients`, the
    optimizer's step, `after_step`; then `end_task`. Closed-form methods see `observe_features` in place of
    batches. The method holds no reference to the network, which is handed to every hook.

    Attributes:
        trains_on: data of a task's training: `current` task, all `seen` so far, or `all` tasks in one training.
        closed_form: whether the method has no gradient steps but `observe_features`.
        accumulators: names of buffers that later tasks are added to, and that no answer needs.
        needs_new_classes: whether it makes no sense where tasks share their outputs (domain-incremental).
        seen, old: bool (K,), outputs that have come so far, and those that had before the present task.
        random: draws of the method; reseeded by the loop from (seed, task, epoch), so it needs no saving.
        augment: the training's augmentation, for examples that are replayed.
    """

    trains_on: ClassVar[str] = "current"
    closed_form: ClassVar[bool] = False
    accumulators: ClassVar[tuple[str, ...]] = ()
    needs_new_classes: ClassVar[bool] = False
    competing: Tensor
    seen: Tensor
    old: Tensor

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__()
        self.setting, self.config = setting, config
        self.register_buffer("competing", setting.competing.clone(), persistent=False)
        self.register_buffer("seen", torch.zeros(setting.num_outputs, dtype=torch.bool))
        self.register_buffer("old", torch.zeros(setting.num_outputs, dtype=torch.bool))
        self.random = torch.Generator()
        self.augment: Callable[[Tensor], Tensor] = lambda inputs: inputs

    def settings(self) -> dict[str, Any]:
        """What it works with, for the record: its keys, with what follows from others in the place of null."""
        return dict(vars(self.config))

    @classmethod
    def place(cls, config: Any, net: Blocks) -> str:
        """Whose outputs a closed-form method takes.

        Raises:
            UserError: there is no such place.
        """
        return FEATURES

    def begin_task(self, net: Network, task: Task) -> None:
        """Before the first batch of a task; not called again when a run is resumed within it."""
        self.old.copy_(self.seen)
        self.seen[list(task.outputs)] = True

    def begin_batch(self, net: Network, batch: Batch) -> None:
        """Before the forward pass."""

    def loss(self, net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to be minimised (scalar), and the logits (B, K) of the batch."""
        logits = net(batch.images)
        return self.classify(logits, batch.labels), logits

    def on_gradients(self, net: Network) -> None:
        """After the backward pass, before the optimizer's step: gradients may be changed here."""

    def after_step(self, net: Network, batch: Batch, logits: Tensor) -> None:
        """After the optimizer's step; `logits` are those of `loss`, detached."""

    def end_task(self, net: Network, data: TaskData) -> None:
        """After the last batch of a task, in eval mode and without gradients."""

    def observe_features(self, features: Tensor, labels: Tensor) -> None:
        """Closed-form methods: a batch of features (B, D) and labels (B,), each example once."""

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        """Scores (B, K), the higher the likelier; outputs that cannot be the answer are masked by the caller."""
        return net(inputs)

    def as_last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Weight (K, D) and bias (K,) of a linear layer on the features that gives `predict`'s answers; or None.

        For methods whose answer is not the network's own last layer, so that their model can be exported as one.
        """
        return None

    def classify(self, logits: Tensor, labels: Tensor, among: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over the outputs that compete with each label, and that are `among` (K,) if given."""
        rivals = self.competing[labels]
        if among is not None:
            rivals = rivals & among
        return nn.functional.cross_entropy(logits.float().masked_fill(~rivals, -torch.inf), labels)
