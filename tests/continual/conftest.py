"""For the tests of continual learning: a tiny source and network, and the order of the hooks as a plain loop."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.config.continual import ContinualConfig
from tlcl.config.registry import GROUPS
from tlcl.continual.methods.base import Method, Setting, TaskData
from tlcl.continual.methods.registry import build_method
from tlcl.continual.stream import Stream, Task, build_stream
from tlcl.data.datamodule import Batch
from tlcl.data.image_tensors import ImageTensors, Source
from tlcl.seeding import generator

SHAPE = (1, 4, 4)
FEATURES = 5
CLASSES = 6


def images(count: int, seed: int) -> Tensor:
    """Random uint8 (count, 1, 4, 4)."""
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator(seed, "images"))


def tiny_source(per_class: int = 12, classes: int = CLASSES, test_per_class: int = 5) -> Source:
    """Random images whose labels take turns."""
    names = tuple("abcdefghij"[:classes])
    pool, test = per_class * classes, test_per_class * classes
    return Source(
        ImageTensors(images(pool, 1), torch.arange(pool) % classes, names),
        ImageTensors(images(test, 2), torch.arange(test) % classes, names),
    )


def tiny_stream(
    scenario: str = "class_incremental", per_task: Any = 2, order: Any = "given", source: Source | None = None
) -> Stream:
    config = ContinualConfig(scenario, per_task, order, head="new")
    return build_stream(source or tiny_source(), config, train_size=None, val_size=6, seed=0)


class TinyNet(nn.Module):
    """uint8 (B, 1, 4, 4), or floats (B, ...), -> features (B, 5) -> logits (B, K)."""

    def __init__(self, outputs: int = CLASSES, seed: int = 0, norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(16, FEATURES), nn.Tanh())
            if norm:
                conv = nn.Conv2d(1, 4, kernel_size=3, stride=2, padding=1)
                self.body = nn.Sequential(
                    conv, nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), self.body
                )
            self.classifier = nn.Linear(FEATURES, outputs)

    def features(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.body(inputs.float() / 128 - 1)
        return result

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(inputs))
        return logits


class Table(nn.Module):
    """A network whose logits are its parameter: row i for the i-th input, so that their gradients can be read."""

    def __init__(self, rows: int, outputs: int = CLASSES) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(rows, outputs, generator=generator(0, "table")))

    def features(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rows[: len(inputs)]


def setting_of(stream: Stream) -> Setting:
    return Setting(stream.competing, SHAPE, torch.uint8, FEATURES, seed=0)


def make_method(name: str, stream: Stream, net: nn.Module, **keys: Any) -> Method:
    """The method with its default config but for `keys`."""
    config = GROUPS["method"][name].keys(name=name, **keys)
    return build_method(config, setting_of(stream), net)  # type: ignore[arg-type]


def task_data(stream: Stream, task: Task) -> TaskData:
    pool = stream.source.pool
    return TaskData(pool.images, pool.labels, task.split.train, pool.images)


def task_batches(stream: Stream, task: Task, size: int = 6) -> Iterator[Batch]:
    """Batches in the pool's order, with `images` mirrored as if augmented and `raw` as stored."""
    pool = stream.source.pool
    for indices in task.split.train.split(size):
        raw = pool.images[indices]
        yield Batch(raw.flip(-1), pool.labels[indices], indices, raw)


def reseed(method: Method, task: int = 0, epoch: int = 0) -> None:
    method.random.manual_seed(1000 * task + epoch)


def step(method: Method, net: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
    """One training step by the documented order of the hooks; returns the loss."""
    method.begin_batch(net, batch)  # type: ignore[arg-type]
    loss, logits = method.loss(net, batch)  # type: ignore[arg-type]
    optimizer.zero_grad()
    loss.backward()
    method.on_gradients(net)  # type: ignore[arg-type]
    optimizer.step()
    method.after_step(net, batch, logits.detach())  # type: ignore[arg-type]
    return loss.detach()


def finish_task(method: Method, net: nn.Module, stream: Stream, task: Task) -> None:
    net.eval()
    with torch.no_grad():
        method.end_task(net, task_data(stream, task))  # type: ignore[arg-type]


def train_task(
    method: Method, net: nn.Module, stream: Stream, task: Task, lr: float = 0.1, epochs: int = 1
) -> None:
    """A whole task: gradient steps, or features in batches of 7 for a closed-form method."""
    method.begin_task(net, task)  # type: ignore[arg-type]
    reseed(method, task.index)
    net.train()
    if method.closed_form:
        net.eval()
        with torch.no_grad():
            for inputs, labels in task_data(stream, task).batches(7, torch.device("cpu")):
                method.observe_features(net.features(inputs), labels)  # type: ignore[operator]
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
        for _ in range(epochs):
            for batch in task_batches(stream, task):
                step(method, net, batch, optimizer)
    finish_task(method, net, stream, task)


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    """Of the parameters that are trained; zero where the loss does not depend on one."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]


def close(left: list[Tensor], right: list[Tensor], rtol: float = 1e-4, atol: float = 1e-7) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def fisher_by_loops(net: nn.Module, inputs: Tensor, rivals: Tensor) -> list[Tensor]:
    """The diagonal of the Fisher information by one backward pass for each image and class."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in trained]
    for example, rival in zip(inputs, rivals, strict=True):
        outputs = rival.nonzero().squeeze(1).tolist()
        log_p = net(example[None])[0, outputs].log_softmax(0)
        for place in range(len(outputs)):
            found = torch.autograd.grad(log_p[place], trained, retain_graph=True, materialize_grads=True)
            for kept, gradient in zip(total, found, strict=True):
                kept += float(log_p[place].detach().exp()) * gradient**2 / len(inputs)
    return total
