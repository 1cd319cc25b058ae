"""ER, ER-ACE, DER, DER++, A-GEM and iCaRL against hand computations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.continual.conftest import (
    Table,
    TinyNet,
    close,
    finish_task,
    gradients,
    images,
    make_method,
    reseed,
    setting_of,
    step,
    task_batches,
    tiny_source,
    tiny_stream,
    train_task,
)
from tlcl.config.registry import GROUPS
from tlcl.continual.methods.agem import projection_factor
from tlcl.continual.methods.der import logit_distance, steepness
from tlcl.continual.methods.icarl import herding
from tlcl.continual.methods.registry import build_method
from tlcl.continual.methods.steep_penalty import largest_step
from tlcl.data.datamodule import Batch
from tlcl.errors import UserError
from tlcl.seeding import generator

REPLAY = ("er", "der", "der_pp")


def first_batch(task: int = 0, size: int = 6) -> Batch:
    stream = tiny_stream()
    return next(task_batches(stream, stream.tasks[task], size))


def remember(method: Any, count: int, labels: list[int] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Put `count` known images, labels and logits into an empty buffer."""
    inputs = images(count, seed=9)
    values = torch.tensor(labels) if labels else torch.arange(count) % 2
    logits = torch.randn(count, 6, generator=generator(9, "logits"))
    method.buffer.add(inputs, values, torch.Generator(), logits if method.buffer.logits.shape[1] else None)
    return inputs, values, logits


@pytest.mark.parametrize("name", REPLAY)
@pytest.mark.parametrize("scenario", ["class_incremental", "task_incremental"])
def test_with_an_empty_buffer_replay_is_naive(name: str, scenario: str) -> None:
    stream, net, batch = tiny_stream(scenario), TinyNet(), first_batch()
    losses = []
    for which in ("naive", name):
        method = make_method(which, stream, net)
        method.begin_task(net, stream.tasks[0])
        loss, logits = method.loss(net, batch)
        assert torch.equal(logits, net(batch.images))
        losses.append((loss, *gradients(loss, net)))
    for left, right in zip(*losses, strict=True):
        assert torch.equal(left, right)


def test_er_is_the_mean_over_both_batches() -> None:
    """Not the sum of two means: 6 new and 4 replayed examples count alike."""
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    method = make_method("er", stream, net, buffer_size=4, replay_batch=9)
    inputs, labels, _ = remember(method, 4)
    loss, logits = method.loss(net, batch)
    new = nn.functional.cross_entropy(net(batch.images), batch.labels, reduction="sum")
    old = nn.functional.cross_entropy(net(inputs), labels, reduction="sum")
    torch.testing.assert_close(loss, (new + old) / 10)
    torch.testing.assert_close(logits, net(batch.images))


def test_er_replays_no_more_than_asked() -> None:
    stream, batch, seen = tiny_stream(), first_batch(1), []
    net = Table(20)
    net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    method = make_method("er", stream, net, buffer_size=12, replay_batch=5)
    remember(method, 12)
    method.loss(net, batch)
    assert seen == [6 + 5]


def test_er_ace_leaves_old_classes_alone() -> None:
    """The new images' gradient to the outputs of classes that are not in their batch is exactly zero."""
    stream, batch = tiny_stream(), first_batch(1)
    net = Table(6 + 4)
    method = make_method("er_ace", stream, net, buffer_size=4)
    for task in stream.tasks[:2]:
        method.begin_task(net, task)
    remember(method, 4)
    assert set(batch.labels.tolist()) == {2, 3}
    loss, _ = method.loss(net, batch)
    (gradient,) = gradients(loss, net)
    assert bool((gradient[:6, [0, 1, 4, 5]] == 0).all())
    assert bool((gradient[:6, [2, 3]] != 0).all())
    assert bool((gradient[6:, :4] != 0).all())  # replayed: all classes seen,
    assert bool((gradient[6:, 4:] == 0).all())  # but none to come
    plain = make_method("er", stream, net, buffer_size=4)
    remember(plain, 4)
    (gradient,) = gradients(plain.loss(net, batch)[0], net)
    assert bool((gradient[:6, [0, 1]] != 0).all())


def test_er_ace_adds_two_means() -> None:
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    method = make_method("er_ace", stream, net, buffer_size=4)
    for task in stream.tasks[:2]:
        method.begin_task(net, task)
    inputs, labels, _ = remember(method, 4)
    new = nn.functional.cross_entropy(net(batch.images)[:, 2:4], batch.labels - 2)
    old = nn.functional.cross_entropy(net(inputs)[:, :4], labels)
    torch.testing.assert_close(method.loss(net, batch)[0], new + old)


def test_er_ace_takes_the_classes_of_the_batch_not_of_the_task() -> None:
    stream, net = tiny_stream(), TinyNet()
    batch = first_batch(1)
    some = batch.labels == 3
    method = make_method("er_ace", stream, net)
    for task in stream.tasks[:2]:
        method.begin_task(net, task)
    one = Batch(batch.images[some], batch.labels[some], batch.indices[some])
    assert float(method.loss(net, one)[0].detach()) == 0  # one class alone: nothing to tell apart


def test_logit_distance_sums_over_outputs_and_averages_over_the_batch() -> None:
    logits, stored = (
        torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]),
        torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
    )
    # (0 + 4 + 9) and (4 + 0 + 1), over two examples
    assert float(logit_distance(logits, stored)) == 9.0


def test_der_by_hand() -> None:
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    method = make_method("der", stream, net, buffer_size=5, replay_batch=8, alpha=0.7)
    inputs, _, stored = remember(method, 5)
    outputs, distance = net(inputs), torch.zeros(())
    for example in range(5):
        for output in range(6):
            distance = distance + (outputs[example, output] - stored[example, output]) ** 2 / 5
    expected = nn.functional.cross_entropy(net(batch.images), batch.labels) + 0.7 * distance
    loss, logits = method.loss(net, batch)
    torch.testing.assert_close(loss, expected)
    close(gradients(loss, net), gradients(expected, net))
    torch.testing.assert_close(logits, net(batch.images))


@pytest.mark.parametrize(("name", "published"), [("der", 0.3), ("der_pp", 0.1)])
def test_alpha_is_the_published_one_by_outputs_and_rate(name: str, published: float) -> None:
    """Theirs is of the mean over ten outputs at a rate of 0.03: 0.03 of the sum there, three times that at 0.01."""
    stream, net = tiny_stream(), TinyNet()
    setting = replace(setting_of(stream), competing=torch.ones(10, 10, dtype=torch.bool))
    config = GROUPS["method"][name].keys(name=name)
    for lr, expected in ((0.03, published / 10), (0.01, 3 * published / 10), (0.1, 0.3 * published / 10)):
        made: Any = build_method(config, replace(setting, sgd_lr=lr), net)
        assert made.alpha == pytest.approx(expected)
    # Momentum of 0.9 makes steps ten times as long.
    made = build_method(config, replace(setting, sgd_lr=0.01, momentum=0.9), net)
    assert made.alpha == pytest.approx(0.3 * published / 10)
    made = build_method(GROUPS["method"][name].keys(name=name, alpha=0.5), setting, net)
    assert made.alpha == made.settings()["alpha"] == 0.5
    # Another optimizer's steps do not grow with the loss.
    assert build_method(config, replace(setting, sgd_lr=None), net).alpha == pytest.approx(published / 10)  # type: ignore[union-attr]


def test_steepness_is_the_largest_eigenvalue_of_the_second_moment() -> None:
    features = torch.randn(7, 20, generator=torch.Generator().manual_seed(0))
    moment = (features.T @ features / 7).double().numpy()
    assert steepness(features) == pytest.approx(np.linalg.eigvalsh(moment).max(), rel=1e-5)


def test_at_that_rate_the_replayed_outputs_swing() -> None:
    """Steps of the last layer shrink below lr * alpha * steepness = largest_step / 2, and grow above."""
    features, goal = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.zeros(6, 3)
    for momentum in (0.0, 0.9):
        for share, grows in ((0.9, False), (1.1, True)):
            weight = torch.ones(3, 4, requires_grad=True)
            rate, distances = share * largest_step(momentum) / 2 / (0.5 * steepness(features)), []
            optimizer = torch.optim.SGD([weight], lr=rate, momentum=momentum, nesterov=momentum > 0)
            for _ in range(200):
                loss = 0.5 * logit_distance(features @ weight.T, goal)
                distances.append(float(loss.detach()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            assert (distances[-1] > distances[0]) == grows


@pytest.mark.parametrize(("alpha", "warned"), [(0.001, False), (1000.0, True)])
def test_a_rate_that_swings_is_warned_of_once(
    alpha: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stream, net, batch = tiny_stream(), TinyNet(norm=True), first_batch(1)
    method = make_method("der", stream, net, buffer_size=5, replay_batch=8, alpha=alpha)
    remember(method, 5)
    method.old[0] = True  # after a task
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    method._look(net, batch.images)  # type: ignore[operator]
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert all(module.training for module in net.modules())
    method.loss(net, batch)
    assert [("will swing" in record.message) for record in caplog.records] == ([True] if warned else [])


def test_features_that_grow_are_looked_at_in_each_task(caplog: pytest.LogCaptureFixture) -> None:
    """After the first task a rate is small enough; later the features, or the bias alone, are too large for it."""
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    moment = steepness(torch.cat([net.features(batch.images), torch.ones(len(batch.images), 1)], 1))
    method: Any = make_method("der", stream, net, buffer_size=5, replay_batch=8, alpha=0.9 / 0.03 / moment)
    method.old[0] = method.seen[0] = True
    method._look(net, batch.images)
    assert not caplog.records
    with torch.no_grad():
        for parameter in net.body.parameters():
            parameter.mul_(3)
    method._look(net, batch.images)
    assert not caplog.records  # one look a task
    method.begin_task(net, stream.tasks[1])
    method._look(net, batch.images)
    assert "will swing" in caplog.text
    with torch.no_grad():
        for parameter in net.body.parameters():
            parameter.mul_(0)
    caplog.clear()
    of_bias: Any = make_method("der", stream, net, buffer_size=5, replay_batch=8, alpha=1.1 / 0.03)
    of_bias.old[0] = True
    of_bias._look(net, batch.images)
    assert "will swing" in caplog.text


def test_der_pp_by_hand() -> None:
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    method = make_method("der_pp", stream, net, buffer_size=5, replay_batch=8, alpha=0.7, beta=0.3)
    inputs, labels, stored = remember(method, 5)
    expected = nn.functional.cross_entropy(net(batch.images), batch.labels)
    expected = expected + 0.7 * (net(inputs) - stored).square().sum() / 5
    expected = expected + 0.3 * nn.functional.cross_entropy(net(inputs), labels)
    torch.testing.assert_close(method.loss(net, batch)[0], expected)


def test_der_pp_draws_a_second_batch_for_the_labels() -> None:
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    method = make_method("der_pp", stream, net, buffer_size=40, replay_batch=5)
    remember(method, 40)
    drawn: list[Tensor] = []
    method.augment = lambda inputs: drawn.append(inputs) or inputs  # type: ignore[func-returns-value]
    method.loss(net, batch)
    assert [len(inputs) for inputs in drawn] == [5, 5]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("name", ["er", "er_ace", "der", "der_pp", "agem", "icarl"])
def test_replayed_inputs_are_augmented(name: str) -> None:
    """Exactly the stored images go through `augment`, and what it returns is what the network is shown."""
    stream, net = tiny_stream(), TinyNet()
    method = make_method(name, stream, net, buffer_size=12)
    train_task(method, net, stream, stream.tasks[0])
    method.begin_task(net, stream.tasks[1])
    given: list[Tensor] = []
    shown: list[Tensor] = []
    method.augment = lambda inputs: given.append(inputs) or torch.zeros_like(inputs)  # type: ignore[func-returns-value]
    net.register_forward_hook(lambda module, inputs, output: shown.append(inputs[0]))
    batch = next(task_batches(stream, stream.tasks[1]))
    loss, _ = method.loss(net, batch)
    loss.backward()
    method.on_gradients(net)
    kept = getattr(method, "exemplars" if name == "icarl" else "buffer").inputs
    stored = {tuple(image.flatten().tolist()) for image in kept}
    assert given
    assert {tuple(image.flatten().tolist()) for image in torch.cat(given)} <= stored
    blank = sum(int((inputs == 0).flatten(1).all(1).sum()) for inputs in shown)
    assert blank == sum(len(inputs) for inputs in given)


@pytest.mark.parametrize("name", ["er", "er_ace", "der", "der_pp", "agem", "icarl"])
def test_what_is_kept_are_raw_images_with_their_labels(name: str) -> None:
    """Every stored image is one of the pool as it is there (the batches are mirrored), beside its own label."""
    stream, net = tiny_stream(), TinyNet()
    method = make_method(name, stream, net, buffer_size=12)
    for task in stream.tasks[:2]:
        train_task(method, net, stream, task)
    buffer = getattr(method, "exemplars" if name == "icarl" else "buffer")
    pool = stream.source.pool
    labels = {
        tuple(image.flatten().tolist()): int(label) for image, label in zip(pool.images, pool.labels, strict=True)
    }
    assert len(buffer) == 12
    for image, label in zip(buffer.inputs, buffer.labels, strict=True):
        assert labels[tuple(image.flatten().tolist())] == int(label)


@pytest.mark.parametrize("name", ["er", "er_ace", "der", "der_pp"])
def test_every_batch_is_offered_after_its_step_in_every_epoch(name: str) -> None:
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method(name, stream, net)
    method.begin_task(net, stream.tasks[0])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    offered = 0
    for batch in [*task_batches(stream, stream.tasks[0])] * 2:
        method.loss(net, batch)
        assert method.buffer.offered == offered
        step(method, net, batch, optimizer)
        offered += len(batch.labels)
        assert method.buffer.offered == offered
    finish_task(method, net, stream, stream.tasks[0])
    assert method.buffer.offered == 2 * len(stream.tasks[0].split.train)


@pytest.mark.parametrize("name", ["der", "der_pp"])
def test_der_stores_the_logits_of_the_step_before(name: str) -> None:
    """Those that the batch had in training, for the augmented images, before the optimizer moved the weights."""
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method(name, stream, net)
    method.begin_task(net, stream.tasks[0])
    batch = first_batch()
    before = net(batch.images).detach()
    step(method, net, batch, torch.optim.SGD(net.parameters(), lr=0.5))
    assert torch.equal(method.buffer.labels[:6], batch.labels)
    torch.testing.assert_close(method.buffer.logits[:6], before)
    assert not torch.allclose(method.buffer.logits[:6], net(batch.images), atol=1e-2)
    assert not torch.allclose(method.buffer.logits[:6], net(batch.raw), atol=1e-2)
    assert not method.buffer.logits.requires_grad


# A-GEM


def random_gradients(seed: int) -> list[Tensor]:
    random = generator(seed, "gradients")
    return [torch.randn(shape, generator=random) for shape in ((3, 4), (4,), (2, 2, 2))]


def dot(left: list[Tensor], right: list[Tensor]) -> float:
    return float(sum((a * b).sum() for a, b in zip(left, right, strict=True)))


@pytest.mark.parametrize("seed", range(20))
def test_projection_is_the_nearest_gradient_that_does_no_harm(seed: int) -> None:
    g, reference = random_gradients(seed), random_gradients(seed + 100)
    factor = projection_factor(g, reference)
    projected = [a - factor * b for a, b in zip(g, reference, strict=True)]
    if dot(g, reference) >= 0:
        assert float(factor) == 0
    else:
        assert dot(projected, reference) == pytest.approx(0, abs=1e-5)
        # Nearest: what is taken away is a multiple of the reference.
        moved = [a - b for a, b in zip(g, projected, strict=True)]
        assert dot(moved, reference) ** 2 == pytest.approx(dot(moved, moved) * dot(reference, reference), rel=1e-4)
    assert dot(projected, reference) >= -1e-5


def test_projection_without_a_reference_changes_nothing() -> None:
    g = random_gradients(0)
    assert float(projection_factor(g, [torch.zeros_like(a) for a in g])) == 0


def agem_gradients(flip: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients before and after `on_gradients`, and the reference; the memory holds the batch, or its contrary."""
    stream, net, batch = tiny_stream("task_incremental"), TinyNet(), first_batch()
    method: Any = make_method("agem", stream, net, buffer_size=6)
    labels = 1 - batch.labels if flip else batch.labels
    method.buffer.add(batch.images, labels, torch.Generator())
    reference = gradients(nn.functional.cross_entropy(net(batch.images)[:, :2], labels), net)
    loss, _ = method.loss(net, batch)
    loss.backward()
    before = [parameter.grad.clone() for parameter in net.parameters()]  # type: ignore[union-attr]
    method.on_gradients(net)
    return before, [parameter.grad for parameter in net.parameters()], reference  # type: ignore[misc]


def test_agem_turns_a_harmful_step_aside() -> None:
    before, after, reference = agem_gradients(flip=True)
    assert dot(before, reference) < 0
    assert dot(after, reference) == pytest.approx(0, abs=1e-6)
    assert dot(after, after) > 0


def test_agem_leaves_a_harmless_step_as_it_is() -> None:
    before, after, reference = agem_gradients(flip=False)
    assert dot(before, reference) > 0
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left, right)


def test_agem_passes_over_frozen_parameters() -> None:
    stream, net, batch = tiny_stream(), TinyNet(), first_batch(1)
    net.body.requires_grad_(False)
    method: Any = make_method("agem", stream, net, buffer_size=6)
    remember(method, 6)
    method.loss(net, batch)[0].backward()
    method.on_gradients(net)
    assert all(parameter.grad is None for parameter in net.body.parameters())


def test_agem_remembers_whole_tasks_in_equal_shares() -> None:
    """Up to the capacity (not one batch a task), each image of earlier tasks with the same chance; 30 seeds."""
    stream = tiny_stream(source=tiny_source(per_class=40))
    sizes = [len(task.split.train) for task in stream.tasks]
    assert min(sizes) > 60
    shares = torch.zeros(3)
    for seed in range(30):
        method: Any = make_method("agem", stream, TinyNet(), buffer_size=45)
        for task in stream.tasks:
            method.begin_task(TinyNet(), task)
            reseed(method, task.index, seed)
            before = method.buffer.offered
            assert before == sum(sizes[: task.index])  # nothing of the task that is being learnt
            finish_task(method, TinyNet(), stream, task)
        assert len(method.buffer) == 45
        pictures = {tuple(image.flatten().tolist()) for image in method.buffer.inputs}
        assert len(pictures) == 45
        shares += torch.bincount(method.buffer.labels // 2, minlength=3)
    # A share has mean 15 and standard deviation 2.8; that of 30 is 0.51.
    expected = 45 * torch.tensor(sizes) / sum(sizes)
    assert (shares / 30 - expected).abs().max() < 4 * 0.51


def test_agem_keeps_a_small_memory_whole() -> None:
    stream = tiny_stream()
    method: Any = make_method("agem", stream, TinyNet(), buffer_size=500)
    for task in stream.tasks:
        method.begin_task(TinyNet(), task)
        finish_task(method, TinyNet(), stream, task)
    indices = torch.cat([task.split.train for task in stream.tasks])
    assert torch.equal(method.buffer.inputs[: len(indices)], stream.source.pool.images[indices])


# iCaRL


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_greedy(seed: int) -> None:
    """Against trying every free example at every place, in double precision."""
    features = nn.functional.normalize(torch.randn(12, 4, generator=generator(seed, "herd")).double(), dim=1)
    chosen: list[int] = []
    for _ in range(12):
        distances = {
            one: float((features.mean(0) - features[[*chosen, one]].mean(0)).norm())
            for one in range(12)
            if one not in chosen
        }
        chosen.append(min(distances, key=distances.__getitem__))
    for count in (1, 5, 12):
        assert herding(features, count).tolist() == chosen[:count]


def icarl_lists(method: Any) -> dict[int, list[tuple[int, ...]]]:
    """Class -> its exemplars in order."""
    count = len(method.exemplars)
    lists: dict[int, list[tuple[int, ...]]] = {}
    for image, label in zip(method.exemplars.inputs[:count], method.exemplars.labels[:count], strict=True):
        lists.setdefault(int(label), []).append(tuple(image.flatten().tolist()))
    return lists


def test_icarl_shares_the_buffer_among_the_classes_and_cuts_lists_from_the_end() -> None:
    stream, net = tiny_stream(), TinyNet()
    method = make_method("icarl", stream, net, buffer_size=20)
    before: dict[int, list[tuple[int, ...]]] = {}
    for task, quota in zip(stream.tasks, (10, 5, 3), strict=True):
        train_task(method, net, stream, task)
        lists = icarl_lists(method)
        assert {label: len(held) for label, held in lists.items()} == dict.fromkeys(
            range(2 * task.index + 2), quota
        )
        for label, held in before.items():
            assert lists[label] == held[:quota]
        pool = stream.source.pool
        for label in task.members:  # herded on the features of the network as it is now
            own = task.split.train[pool.labels[task.split.train] == label]
            with torch.no_grad():
                features = nn.functional.normalize(net.features(pool.images[own]), dim=1)
            best = own[herding(features, quota)]
            assert lists[label] == [tuple(image.flatten().tolist()) for image in pool.images[best]]
        before = lists


def test_icarl_keeps_all_of_a_class_smaller_than_its_share() -> None:
    stream, net = tiny_stream(), TinyNet()
    method = make_method("icarl", stream, net, buffer_size=500)
    train_task(method, net, stream, stream.tasks[0])
    indices = stream.tasks[0].split.train
    held = {image for images_ in icarl_lists(method).values() for image in images_}
    assert held == {tuple(image.flatten().tolist()) for image in stream.source.pool.images[indices]}


def test_icarl_targets_of_old_outputs_come_from_the_old_network() -> None:
    """By a double loop: new images and exemplars, summed over the outputs seen, mean over the images."""
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method("icarl", stream, net, buffer_size=12)
    train_task(method, net, stream, stream.tasks[0])
    with torch.no_grad():
        old = TinyNet()
        old.load_state_dict(net.state_dict())
        method.begin_task(net, stream.tasks[1])
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(1, "move")))
    task = stream.tasks[1]
    method.task_images = 12  # so that all 12 exemplars come with a batch of 12
    batch = next(task_batches(stream, task, 12))
    loss, logits = method.loss(net, batch)
    inputs = torch.cat([batch.images, method.exemplars.inputs])
    labels = torch.cat([batch.labels, method.exemplars.labels])
    assert len(inputs) == 24
    scores, targets = net(inputs).sigmoid(), old(inputs).sigmoid().detach()
    expected = torch.zeros(())
    for example in range(24):
        for output in range(4):  # outputs 4 and 5 have not come
            target = targets[example, output] if output < 2 else (labels[example] == output).float()
            score = scores[example, output]
            expected = expected - (target * score.log() + (1 - target) * (1 - score).log()) / 24
    torch.testing.assert_close(loss, expected)
    close(gradients(loss, net), gradients(expected, net), atol=1e-6)
    torch.testing.assert_close(logits, net(batch.images))


def test_icarl_replays_exemplars_in_the_proportion_of_their_number() -> None:
    """20 task images and 12 exemplars: a batch of 10 comes with 6."""
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method("icarl", stream, net, buffer_size=12)
    train_task(method, net, stream, stream.tasks[0])
    method.begin_task(net, stream.tasks[1])
    assert method.task_images == len(stream.tasks[1].split.train)
    method.task_images = 20
    seen: list[int] = []
    net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    method.loss(net, next(task_batches(stream, stream.tasks[1], 10)))
    assert seen == [16]


def test_icarl_answers_with_the_nearest_mean_of_exemplars() -> None:
    """Means under the present network, of normalised features, normalised again."""
    stream, net = tiny_stream(), TinyNet()
    method: Any = make_method("icarl", stream, net, buffer_size=12)
    for task in stream.tasks[:2]:
        train_task(method, net, stream, task)
    test = stream.source.test.images
    with torch.no_grad():
        scores = method.predict(net, test)
        features = nn.functional.normalize(net.features(test), dim=1)
        for label in range(4):
            held = method.exemplars.inputs[: len(method.exemplars)][method.exemplars.labels[:12] == label]
            mean = nn.functional.normalize(nn.functional.normalize(net.features(held), dim=1).mean(0), dim=0)
            expected = -(features - mean).square().sum(1)
            torch.testing.assert_close(scores[:, label], expected, rtol=1e-4, atol=1e-5)
    assert scores.shape == (len(test), 6)


def test_icarl_needs_room_for_each_class() -> None:
    stream = tiny_stream()
    with pytest.raises(UserError) as caught:
        make_method("icarl", stream, TinyNet(), buffer_size=5)
    assert "method.buffer_size=5 must be at least 6" in str(caught.value)
    assert "\n" not in str(caught.value)
    make_method("icarl", stream, TinyNet(), buffer_size=6)
