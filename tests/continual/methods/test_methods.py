"""What every method has in common: the loss, its config, its state, and that unseen classes are no answers."""

import copy
import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tests.continual.conftest import (
    FEATURES,
    TinyNet,
    finish_task,
    images,
    make_method,
    reseed,
    setting_of,
    step,
    task_batches,
    task_data,
    tiny_stream,
    train_task,
)
from tlcl.config.continual import MethodConfig
from tlcl.config.registry import GROUPS
from tlcl.config.schema import conf_dir
from tlcl.continual.methods import registry
from tlcl.continual.methods.base import Method, TaskData
from tlcl.continual.stream import Stream
from tlcl.data.datamodule import Batch
from tlcl.seeding import generator

SMALL: dict[str, dict[str, Any]] = {
    "ewc": {"fisher_images": 8},
    "online_ewc": {"fisher_images": 8, "gamma": 0.9},
    "ranpac": {"projection": 12},
    "icarl": {"buffer_size": 12},
    **{name: {"buffer_size": 12, "replay_batch": 5} for name in ("er", "er_ace", "agem", "der", "der_pp")},
}
METHODS = GROUPS["method"]
NAMES = sorted(METHODS)
YAML = sorted((conf_dir() / "method").glob("*.yaml"))


def small(name: str, stream: Stream, net: nn.Module) -> Any:
    return make_method(name, stream, net, **SMALL.get(name, {}))


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.stem)
def test_each_config_file_has_its_class_and_method(path: Path) -> None:
    """The file's keys and values are exactly the dataclass's fields and defaults."""
    keys: Any = OmegaConf.to_container(OmegaConf.load(path))
    assert keys.pop("name") == path.stem
    schema = METHODS[path.stem].keys
    fields = {field.name: field.default for field in dataclasses.fields(schema) if field.name != "name"}
    assert keys == fields
    assert {key: type(value) for key, value in keys.items()} == {key: type(value) for key, value in fields.items()}
    assert issubclass(METHODS[path.stem].thing, Method)


def test_no_method_lacks_its_config_file() -> None:
    assert set(METHODS) == {path.stem for path in YAML}
    assert len({choice.thing for choice in METHODS.values()}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_build_method_reads_the_name(name: str) -> None:
    stream, net = tiny_stream(), TinyNet()
    config: MethodConfig = METHODS[name].keys(name=name)
    method = registry.build_method(config, setting_of(stream), net)  # type: ignore[arg-type]
    assert type(method) is METHODS[name].thing
    assert method.config is config
    assert not bool(method.seen.any())


@pytest.mark.parametrize("per_task", [2, [3, 3]])
def test_a_known_task_is_cross_entropy_over_its_own_outputs(per_task: Any) -> None:
    """Examples of all tasks in one batch; the other outputs get no gradient at all."""
    stream, net = tiny_stream("task_incremental", per_task), TinyNet()
    method = make_method("naive", stream, net)
    logits = torch.randn(24, 6, generator=generator(0, "logits"), requires_grad=True)
    labels = torch.arange(24) % 6
    loss = method.classify(logits, labels)
    total = torch.zeros(())
    for row, label in zip(logits, labels.tolist(), strict=True):
        own = next(list(task.outputs) for task in stream.tasks if label in task.outputs)
        total = total - row[own].log_softmax(0)[own.index(label)]
    torch.testing.assert_close(loss, total / 24)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool((gradient[~stream.competing[labels]] == 0).all())
    assert bool((gradient[stream.competing[labels]] != 0).all())


@pytest.mark.parametrize("scenario", ["class_incremental", "domain_incremental"])
def test_else_it_is_plain_cross_entropy(scenario: str) -> None:
    stream = tiny_stream(scenario)
    net = TinyNet(stream.num_outputs)
    method = make_method("naive", stream, net)
    logits, labels = (
        torch.randn(12, stream.num_outputs, generator=generator(0, "logits")),
        torch.arange(12) % stream.num_outputs,
    )
    torch.testing.assert_close(method.classify(logits, labels), nn.functional.cross_entropy(logits, labels))


def test_classify_among_some() -> None:
    stream = tiny_stream("task_incremental", [3, 3])
    method = make_method("naive", stream, TinyNet())
    logits, labels = torch.randn(2, 6, generator=generator(0, "logits")), torch.tensor([0, 4])
    among = torch.tensor([True, False, True, True, True, False])
    expected = (
        nn.functional.cross_entropy(logits[:1, [0, 2]], torch.tensor([0]))
        + nn.functional.cross_entropy(logits[1:, [3, 4]], torch.tensor([1]))
    ) / 2
    torch.testing.assert_close(method.classify(logits, labels, among), expected)


def test_outputs_seen_and_old() -> None:
    stream, net = tiny_stream(order=list("cafbed")), TinyNet()
    method = make_method("naive", stream, net)
    expected = [([], [0, 2]), ([0, 2], [0, 1, 2, 5]), ([0, 1, 2, 5], [0, 1, 2, 3, 4, 5])]
    for task, (old, seen) in zip(stream.tasks, expected, strict=True):
        method.begin_task(net, task)  # type: ignore[arg-type]
        assert method.old.nonzero().squeeze(1).tolist() == old
        assert method.seen.nonzero().squeeze(1).tolist() == seen


def scores(method: Method, net: nn.Module, inputs: Tensor) -> Tensor:
    net.eval()
    with torch.no_grad():
        return method.predict(net, inputs)  # type: ignore[arg-type]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("scenario", ["class_incremental", "task_incremental"])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_method_goes_on_as_if_nothing_had_been(name: str, scenario: str) -> None:
    """After two tasks and half of the third: equal answers, equal further losses, equal end of the task.

    The other method is built on another network, as in a new process, and has only the file and the seeds.
    """
    stream, net = tiny_stream(scenario), TinyNet()
    method = small(name, stream, net)
    for task in stream.tasks[:2]:
        train_task(method, net, stream, task)
    last, batches = stream.tasks[2], list(task_batches(stream, stream.tasks[2]))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    if not method.closed_form:
        method.begin_task(net, last)
        reseed(method, 2)
        net.train()
        step(method, net, batches[0], optimizer)
    state = copy.deepcopy((through_a_file(method.state_dict()), net.state_dict()))
    other_net = TinyNet(seed=7)
    other = small(name, stream, other_net)
    other_net.load_state_dict(state[1])
    other.load_state_dict(state[0])
    inputs = images(9, 4)
    assert torch.equal(scores(method, net, inputs), scores(other, other_net, inputs))
    results = []
    for mine, network in ((method, net), (other, other_net)):
        reseed(mine, 2, epoch=1)
        if mine.closed_form:
            train_task(mine, network, stream, last)
            results.append([scores(mine, network, inputs)])
            continue
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        losses = [step(mine, network, batch, optimizer) for batch in batches[1:]]
        finish_task(mine, network, stream, last)
        results.append([*losses, scores(mine, network, inputs), *network.parameters()])
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)
    mine, theirs = method.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert torch.equal(value, theirs[key]) if isinstance(value, Tensor) else value == theirs[key]


@pytest.mark.parametrize("name", NAMES)
def test_classes_to_come_are_never_the_answer(name: str) -> None:
    stream, net = tiny_stream(order=list("cafbed")), TinyNet()
    method = small(name, stream, net)
    test = stream.source.test
    for task in stream.tasks:
        train_task(method, net, stream, task)
        open_outputs = {output for one in stream.tasks[: task.index + 1] for output in one.outputs}
        answers = scores(method, net, test.images)
        assert answers.shape == (len(test), 6)
        assert bool(answers.isfinite().all())
        allowed = stream.allowed(test.labels, task.index)
        predicted = answers.masked_fill(~allowed, -torch.inf).argmax(1)
        assert set(predicted.tolist()) <= open_outputs


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_a_known_task_are_answered_within_it(name: str) -> None:
    stream, net = tiny_stream("task_incremental"), TinyNet()
    method = small(name, stream, net)
    test = stream.source.test
    for task in stream.tasks:
        train_task(method, net, stream, task)
        allowed = stream.allowed(test.labels, task.index)
        predicted = scores(method, net, test.images).masked_fill(~allowed, -torch.inf).argmax(1)
        assert torch.equal(predicted // 2, test.labels // 2)


@pytest.mark.parametrize("name", [name for name in NAMES if not METHODS[name].thing.needs_new_classes])
def test_domains_share_their_outputs(name: str) -> None:
    """Every method goes through the domain-incremental scenario and answers with its two outputs."""
    stream = tiny_stream("domain_incremental")
    net = TinyNet(2)
    method = small(name, stream, net)
    for task in stream.tasks:
        train_task(method, net, stream, task)
        answers = scores(method, net, stream.source.test.images)
        assert answers.shape == (len(stream.source.test), 2)
        assert bool(answers.isfinite().all())


class Head(nn.Module):
    """The last layer alone: its inputs are features."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = TinyNet().classifier

    def features(self, inputs: Tensor) -> Tensor:
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(inputs)
        return logits


@pytest.mark.parametrize("name", NAMES)
def test_every_method_works_on_features(name: str) -> None:
    """Equal to the same head on a frozen body, where the body's features are the inputs."""
    stream, body = tiny_stream(), TinyNet()
    body.body.requires_grad_(False)
    head = Head()
    pool = stream.source.pool
    with torch.no_grad():
        features = body.features(pool.images)
    setting = dataclasses.replace(setting_of(stream), input_shape=(FEATURES,), input_dtype=torch.float32)
    config = METHODS[name].keys(name=name, **SMALL.get(name, {}))
    on_features = registry.build_method(config, setting, head)  # type: ignore[arg-type]
    on_images = small(name, stream, body)
    for task in stream.tasks:
        for method, net, inputs in ((on_features, head, features), (on_images, body, pool.images)):
            method.begin_task(net, task)  # type: ignore[arg-type]
            reseed(method, task.index)
            data = TaskData(inputs, pool.labels, task.split.train, pool.images)
            optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
            for part in task.split.train.split(6):
                if method.closed_form:
                    with torch.no_grad():
                        method.observe_features(net.features(inputs[part]), pool.labels[part])  # type: ignore[operator]
                else:
                    step(method, net, Batch(inputs[part], pool.labels[part], part, inputs[part]), optimizer)
            with torch.no_grad():
                method.end_task(net, data)  # type: ignore[arg-type]
    torch.testing.assert_close(scores(on_features, head, features), scores(on_images, body, pool.images))


def test_task_data_comes_in_order_and_whole() -> None:
    stream = tiny_stream()
    data = task_data(stream, stream.tasks[1])
    parts = list(data.batches(4, torch.device("cpu")))
    assert torch.equal(torch.cat([inputs for inputs, _ in parts]), data.inputs[data.indices])
    assert torch.equal(torch.cat([labels for _, labels in parts]), data.labels[data.indices])
    assert {len(labels) for _, labels in parts[:-1]} == {4}
