"""EWC, online EWC, SI and LwF against their definitions written out."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.continual.conftest import (
    TinyNet,
    close,
    finish_task,
    fisher_by_loops,
    gradients,
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
from tlcl.config.schema import OptimConfig
from tlcl.continual.methods.base import TaskData
from tlcl.continual.methods.distillation import Teacher, distillation
from tlcl.continual.methods.parameters import ParameterTensors
from tlcl.continual.methods.steep_penalty import largest_step, warn_where_steep
from tlcl.continual.stream import Stream
from tlcl.finetuning.optimizer import build_optimizer
from tlcl.models.build import build_model
from tlcl.models.small_cnn import SmallCNNConfig
from tlcl.seeding import generator


def kept_copy(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def move(net: nn.Module, seed: int, scale: float = 0.3) -> None:
    """As a task's training would."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator(seed, "move")))


def fake_tasks(method: Any, net: nn.Module, stream: Stream) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Fisher information and weights at each task's end, worked out beside the method's own."""
    for task in stream.tasks:
        method.begin_task(net, task)
        reseed(method, task.index)
        move(net, task.index)
        data = task_data(stream, task)
        net.eval()
        inputs, labels = data.inputs[data.indices], data.labels[data.indices]
        result = fisher_by_loops(net, inputs, stream.competing[labels]), kept_copy(net)
        finish_task(method, net, stream, task)
        yield result


def penalty_gradients(method: Any, net: nn.Module, stream: Stream) -> list[Tensor]:
    batch = next(task_batches(stream, stream.tasks[2]))
    naive = make_method("naive", stream, net)
    with_penalty = gradients(method.loss(net, batch)[0], net)
    plain = gradients(naive.loss(net, batch)[0], net)  # type: ignore[arg-type]
    return [a - b for a, b in zip(with_penalty, plain, strict=True)]


@pytest.mark.parametrize("scenario", ["class_incremental", "task_incremental"])
def test_ewc_pulls_like_one_penalty_for_each_task(scenario: str) -> None:
    stream, net = tiny_stream(scenario), TinyNet()
    method = make_method("ewc", stream, net, strength=700.0, fisher_images=1000)
    pasts = list(fake_tasks(method, net, stream))
    move(net, 9)
    explicit = torch.zeros(())
    for fisher, anchor in pasts:
        for parameter, f, a in zip(net.parameters(), fisher, anchor, strict=True):
            explicit = explicit + 700.0 / 2 * (f * (parameter - a) ** 2).sum()
    close(penalty_gradients(method, net, stream), gradients(explicit, net), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
def test_online_ewc_forgets_by_gamma(gamma: float) -> None:
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method("online_ewc", stream, net, strength=700.0, fisher_images=1000, gamma=gamma)
    (f0, _), (f1, _), (f2, anchor) = fake_tasks(method, net, stream)
    fisher = [gamma * (gamma * a + b) + c for a, b, c in zip(f0, f1, f2, strict=True)]
    close(method.fisher.tensors(), fisher, atol=1e-9)
    close(method.anchor.tensors(), anchor)
    move(net, 9)
    explicit = torch.zeros(())
    for parameter, f, a in zip(net.parameters(), fisher, anchor, strict=True):
        explicit = explicit + 700.0 / 2 * (f * (parameter - a) ** 2).sum()
    close(penalty_gradients(method, net, stream), gradients(explicit, net), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "si", "lwf"])
def test_the_first_task_is_naive(name: str) -> None:
    stream, net, other = tiny_stream(), TinyNet(), TinyNet()
    method, naive = make_method(name, stream, net), make_method("naive", stream, other)
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9) for one in (net, other)]
    method.begin_task(net, stream.tasks[0])  # type: ignore[arg-type]
    naive.begin_task(other, stream.tasks[0])  # type: ignore[arg-type]
    for batch in task_batches(stream, stream.tasks[0]):
        assert torch.equal(step(method, net, batch, optimizers[0]), step(naive, other, batch, optimizers[1]))
    for left, right in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_ewc_reads_as_many_images_as_it_is_told_by_the_seed_and_what_they_are() -> None:
    stream, net = tiny_stream(), TinyNet().eval()
    method: Any = make_method("ewc", stream, net, fisher_images=5)
    method.begin_task(net, stream.tasks[0])
    data = task_data(stream, stream.tasks[0])

    def fisher() -> Tensor:
        return torch.cat([value.flatten() for value in method.task_fisher(net, data)])

    first = fisher()
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(1))
    mixed, places = data.images[order], torch.isin(order, data.indices).nonzero().squeeze(1)
    data = TaskData(mixed, data.labels[order], places, mixed)
    assert torch.equal(fisher(), first)  # other files come first
    method.setting = replace(method.setting, seed=1)
    assert not torch.equal(fisher(), first)
    assert len(data.indices) > 5
    method.config.fisher_images = len(data.indices)
    whole = fisher()
    method.setting = replace(method.setting, seed=0)
    torch.testing.assert_close(fisher(), whole)  # all of them, by any seed
    assert not torch.allclose(whole, first)


def test_ewc_does_not_hold_frozen_parameters() -> None:
    """Not even those that an earlier task trained: they have no gradient, and the penalty gives them none."""
    stream, net = tiny_stream(), TinyNet()
    method = make_method("ewc", stream, net)
    train_task(method, net, stream, stream.tasks[0])
    net.zero_grad()
    net.body.requires_grad_(False)
    move(net, 1)
    loss, _ = method.loss(net, next(task_batches(stream, stream.tasks[1])))  # type: ignore[arg-type]
    loss.backward()
    assert all(parameter.grad is None for parameter in net.body.parameters())
    expected = sum(
        (f * (p - a) ** 2).sum()
        for p, f, a in zip(net.parameters(), method.fisher.tensors(), method.anchor.tensors(), strict=True)  # type: ignore[union-attr,operator]
        if p.requires_grad
    )
    naive = make_method("naive", stream, net).loss(net, next(task_batches(stream, stream.tasks[1])))[0]  # type: ignore[arg-type]
    torch.testing.assert_close(loss, naive + method.config.strength / 2 * expected)


def test_remembered_values_take_no_part_in_gradients() -> None:
    """Whatever the grad mode of the caller."""
    net = TinyNet()
    values = ParameterTensors(net)  # type: ignore[arg-type]
    values.set(list(net.parameters()))
    assert not any(value.requires_grad for value in values.tensors())
    close(values.tensors(), kept_copy(net), rtol=0, atol=0)
    move(net, 1)
    assert not torch.equal(values.tensors()[0], next(net.parameters()))
    copy.deepcopy(values)


# SI


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("share", "grows"), [(0.95, False), (1.05, True)])
def test_a_penalty_whose_steps_grow_is_warned_of(
    share: float, grows: bool, momentum: float, caplog: pytest.LogCaptureFixture
) -> None:
    setting = replace(setting_of(tiny_stream()), sgd_lr=0.02, momentum=momentum)
    curvature = share * largest_step(momentum) / 0.02
    assert warn_where_steep(setting, [torch.tensor([0.1, curvature]), torch.zeros(2, 2)]) == grows
    assert ("steps on it will grow" in caplog.text) == grows
    net, _ = build_model(SmallCNNConfig("small_cnn", "none", 16), 10, seed=0)
    optimizer = build_optimizer(net, OptimConfig("sgd", 0.02, 1.0, {}, momentum, 0.0, "constant", 0))
    before = float(net.classifier.weight.detach().norm())
    for _ in range(150):
        optimizer.zero_grad()
        sum(curvature / 2 * theta.square().sum() for theta in net.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert (float(net.classifier.weight.detach().norm()) > before) == grows
    assert not warn_where_steep(replace(setting, sgd_lr=None), [torch.tensor([1e9])])


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "si"])
def test_methods_with_a_penalty_look_at_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for strength, said in ((1e-6, False), (1e9, True)):
        stream, net = tiny_stream(), TinyNet()
        method = make_method(name, stream, net, strength=strength)
        for task in stream.tasks[:2]:
            method.begin_task(net, task)  # type: ignore[arg-type]
            for batch in task_batches(stream, task):
                step(method, net, batch, torch.optim.SGD(net.parameters(), lr=1e-6))
            finish_task(method, net, stream, task)
        assert caplog.text.count("steps on it will grow") == (1 if said else 0)


def test_si_path_importance_and_pull() -> None:
    """Two tasks of several steps with momentum and weight decay, by the definitions.

    The path is that of the task's own loss; what moves the weights is the loss with the penalty.
    """
    stream, net = tiny_stream(), TinyNet()
    strength, damping = 3.0, 0.05
    method: Any = make_method("si", stream, net, strength=strength, damping=damping)
    importance, lowest = [torch.zeros_like(parameter) for parameter in net.parameters()], 0.0
    for task in stream.tasks[:2]:
        method.begin_task(net, task)
        start, path = kept_copy(net), [torch.zeros_like(value) for value in importance]
        optimizer = torch.optim.SGD(net.parameters(), lr=1.5, momentum=0.9, weight_decay=0.01)
        for batch in task_batches(stream, task):
            unpenalised = gradients(nn.functional.cross_entropy(net(batch.images), batch.labels), net)
            written = nn.functional.cross_entropy(net(batch.images), batch.labels)
            for parameter, omega, anchor in zip(net.parameters(), importance, start, strict=True):
                written = written + strength * (omega * (parameter - anchor) ** 2).sum()
            before = kept_copy(net)
            loss, logits = method.loss(net, batch)
            optimizer.zero_grad()
            loss.backward()
            method.on_gradients(net)
            close([parameter.grad for parameter in net.parameters()], gradients(written, net), atol=1e-6)  # type: ignore[misc]
            optimizer.step()
            method.after_step(net, batch, logits.detach())
            for value, gradient, old, new in zip(path, unpenalised, before, kept_copy(net), strict=True):
                value -= gradient * (new - old)
            close(method.path.tensors(), path, atol=1e-7)
        importance = [
            omega + value.clamp_min(0) / ((new - old) ** 2 + damping)
            for omega, value, old, new in zip(importance, path, start, kept_copy(net), strict=True)
        ]
        finish_task(method, net, stream, task)
        close(method.importance.tensors(), importance, atol=1e-6)
        assert all(bool((value == 0).all()) for value in method.path.tensors())
        lowest = min(lowest, *(float(value.min()) for value in path))
    assert sum(float(value.sum()) for value in importance) > 0
    assert lowest < -1e-3  # the clipping at zero had something to do


def test_si_counts_no_step_of_a_frozen_parameter() -> None:
    stream, net = tiny_stream(), TinyNet()
    net.body.requires_grad_(False)
    method: Any = make_method("si", stream, net)
    train_task(method, net, stream, stream.tasks[0])
    for value, parameter in zip(method.importance.tensors(), net.parameters(), strict=True):
        assert bool((value > 0).any()) == parameter.requires_grad


# LwF


def test_lwf_is_plain_cross_entropy_while_the_student_is_the_teacher() -> None:
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method("lwf", stream, net, strength=5.0)
    train_task(method, net, stream, stream.tasks[0])
    method.begin_task(net, stream.tasks[1])
    batch = next(task_batches(stream, stream.tasks[1]))
    loss, logits = method.loss(net, batch)
    plain = nn.functional.cross_entropy(net(batch.images), batch.labels)
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
    close(gradients(loss, net), gradients(plain, net), atol=1e-6)
    assert torch.equal(logits, net(batch.images))
    move(net, 1)
    assert float(method.loss(net, batch)[0].detach()) > float(
        nn.functional.cross_entropy(net(batch.images), batch.labels).detach()
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_has_the_gradient_of_li_and_hoiem(temperature: float) -> None:
    """T^2 times that of -sum y' log y^', with y' the teacher's and y^' the student's p^(1/T), normalised."""
    random = generator(0, "logits")
    student = torch.randn(7, 6, generator=random, requires_grad=True)
    teacher = torch.randn(7, 6, generator=random)
    group = torch.tensor([0, 2, 3])
    (ours,) = torch.autograd.grad(distillation(student, teacher, [group], temperature), student)
    total = torch.zeros(())
    for example in range(7):
        softened = []
        for logits in (teacher, student):
            p = logits[example, group].softmax(0) ** (1 / temperature)
            softened.append(p / p.sum())
        total = total - (softened[0] * softened[1].log()).sum() / 7
    (theirs,) = torch.autograd.grad(total, student)
    torch.testing.assert_close(ours, temperature**2 * theirs, rtol=1e-4, atol=1e-6)
    assert bool((ours[:, [1, 4, 5]] == 0).all())


def test_distillation_adds_up_the_groups_and_is_zero_for_equals() -> None:
    random = generator(1, "logits")
    student, teacher = torch.randn(7, 6, generator=random), torch.randn(7, 6, generator=random)
    groups = [torch.tensor([0, 1]), torch.tensor([2, 3, 5])]
    single = [float(distillation(student, teacher, [group], 2.0)) for group in groups]
    assert float(distillation(student, teacher, groups, 2.0)) == pytest.approx(sum(single), rel=1e-5)
    assert min(single) > 0
    assert float(distillation(teacher, teacher, groups, 2.0)) == pytest.approx(0, abs=1e-6)
    shifted = teacher + torch.tensor([3.0, 3.0, -1.0, -1.0, 9.0, -1.0])  # a softmax does not see it
    assert float(distillation(shifted, teacher, groups, 2.0)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("scenario", "groups"),
    [
        ("class_incremental", [[], [[0, 1]], [[0, 1, 2, 3]]]),
        ("task_incremental", [[], [[0, 1]], [[0, 1], [2, 3]]]),
        ("domain_incremental", [[], [[0, 1]], [[0, 1]]]),
    ],
)
def test_lwf_softmaxes(scenario: str, groups: list[list[list[int]]]) -> None:
    stream = tiny_stream(scenario)
    net = TinyNet(stream.num_outputs)
    method: Any = make_method("lwf", stream, net)
    for task, expected in zip(stream.tasks, groups, strict=True):
        method.begin_task(net, task)
        assert sorted(group.tolist() for group in method.old_groups()) == expected


def test_lwf_distils_the_old_outputs_on_the_new_images() -> None:
    stream, net = tiny_stream("task_incremental"), TinyNet()
    method: Any = make_method("lwf", stream, net, strength=0.7, temperature=3.0)
    for task in stream.tasks[:2]:
        train_task(method, net, stream, task)
    method.begin_task(net, stream.tasks[2])
    old = copy.deepcopy(net)
    move(net, 1)
    batch = next(task_batches(stream, stream.tasks[2]))
    logits, past = net(batch.images), old(batch.images).detach()
    expected = nn.functional.cross_entropy(logits[:, 4:], batch.labels - 4)
    for group in ([0, 1], [2, 3]):
        target, score = (past[:, group] / 3).softmax(1), (logits[:, group] / 3).softmax(1)
        expected = expected + 0.7 * 9 * (target * (target.log() - score.log())).sum(1).mean()
    torch.testing.assert_close(method.loss(net, batch)[0], expected)


@pytest.mark.parametrize("name", ["lwf", "icarl"])
def test_the_teacher_neither_learns_nor_leaves_eval(name: str) -> None:
    """Within a task its outputs stay, with BatchNorm and dropout, whoever calls `train()`; a new task renews it."""
    stream, net = tiny_stream(), TinyNet(norm=True)
    method: Any = make_method(name, stream, net)
    train_task(method, net, stream, stream.tasks[0])
    method.begin_task(net, stream.tasks[1])
    holder = nn.ModuleDict({"net": net, "method": method})
    holder.train()
    assert net.training
    assert not any(module.training for module in method.teacher.modules())
    state = copy.deepcopy(method.teacher.state_dict())
    inputs = images(4, 5)
    outputs = method.teacher(inputs)
    torch.testing.assert_close(outputs, copy.deepcopy(net).eval()(inputs).detach())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for batch in task_batches(stream, stream.tasks[1]):
        step(method, net, batch, optimizer)
    for key, value in method.teacher.state_dict().items():
        assert torch.equal(value, state[key])
    assert torch.equal(method.teacher(inputs), outputs)
    assert not outputs.requires_grad
    assert not any(parameter.requires_grad for parameter in method.parameters())
    method.begin_task(net, stream.tasks[2])
    torch.testing.assert_close(method.teacher(inputs), net.eval()(inputs).detach())


def test_a_teacher_shares_nothing_with_its_network() -> None:
    net = TinyNet()
    teacher = Teacher(net)  # type: ignore[arg-type]
    before = teacher(images(3, 0))
    move(net, 1)
    assert torch.equal(teacher(images(3, 0)), before)
