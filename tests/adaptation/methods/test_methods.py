"""Each method: what its loss is made of, what it changes, and that it helps on a shift it is made for."""

import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests.adaptation.conftest import Moons, accuracy, make_method, moons, pair, point_net, train_on_moons
from tlcl.adaptation.losses import ccsa, coral, dann_strength, mk_mmd
from tlcl.adaptation.methods.base import Domains, both_domains, classification_loss, width
from tlcl.adaptation.pairs import HIDDEN
from tlcl.adaptation.source_averages import SourceAverages
from tlcl.config.compose import composed_config
from tlcl.config.kinds import NAMED
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.config.schema import conf_dir
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.sweeps.compare import method_group


@pytest.fixture(scope="module")
def data() -> Moons:
    return moons()


@pytest.fixture(scope="module")
def source_only(data: Moons) -> float:
    net, _ = train_on_moons("source_only", data)
    assert accuracy(net, data.source, data.source_labels) > 0.99
    return accuracy(net, data.test, data.test_labels)


KEYS: dict[str, dict] = {}
HELPFUL = ["target_oracle", "fine_tune", "adabn", "mmd", "coral", "dann", "cdan", "ccsa", "mcc", "bnm"]


@pytest.mark.parametrize("name", HELPFUL)
def test_each_method_beats_source_only_on_moved_moons(name: str, data: Moons, source_only: float) -> None:
    net, losses = train_on_moons(name, data, **KEYS.get(name, {}))
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-20:]) < sum(losses[:20])
    assert accuracy(net, data.test, data.test_labels) > source_only + 0.08


def batch(data: Moons, target_labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels = torch.full((24,), HIDDEN) if target_labels is None else target_labels
    return data.source[:32], data.source_labels[:32], data.target[:24], labels


@pytest.mark.parametrize("name", sorted(set(GROUPS["adaptation"]) - {"target_oracle", "fine_tune"}))
def test_the_loss_depends_on_no_hidden_label(name: str, data: Moons) -> None:
    """Nothing but -1 is there to see; the source alone has a task loss."""
    net = point_net()
    step = make_method(name, net).loss(net, pair(*batch(data)), 0.3)
    expected = classification_loss(step.logits, step.labels)
    assert torch.equal(step.parts["task"], expected)
    assert torch.equal(step.labels, data.source_labels[:32])


@pytest.mark.parametrize("name", ["mmd", "coral", "dann", "cdan", "mcc", "bnm"])
def test_target_images_with_a_label_are_classified_too(name: str, data: Moons) -> None:
    net, labels = point_net(), torch.full((24,), HIDDEN)
    labels[[3, 5]] = data.target_labels[[3, 5]]
    step = make_method(name, net).loss(net, pair(*batch(data, labels)), 0.3)
    domains = both_domains(net, data.source[:32], data.target[:24], "features", SourceAverages(net))
    few = torch.nn.functional.cross_entropy(domains.target_logits[[3, 5]], labels[[3, 5]])
    torch.testing.assert_close(step.parts["task"], classification_loss(step.logits, step.labels) + few)


def relative_coral(source: Tensor, target: Tensor) -> Tensor:
    """In units of the mean size of both covariances."""
    ours, theirs = (torch.cov(part.detach().T) for part in (source, target))
    return (ours - theirs).square().sum() / ((ours.square().sum() + theirs.square().sum()) / 2)


@pytest.mark.parametrize(("name", "function"), [("mmd", mk_mmd), ("coral", relative_coral)])
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.9])
def test_task_loss_plus_weighted_alignment(name: str, function, progress: float, data: Moons) -> None:  # type: ignore[no-untyped-def]
    net = point_net()
    for ramp, factor in (("dann", dann_strength(progress)), ("none", 1.0)):
        method = make_method(name, net, weight=3.0, ramp=ramp, block="layer1")
        step = method.loss(net, pair(*batch(data)), progress)
        domains = both_domains(net, data.source[:32], data.target[:24], "layer1", SourceAverages(net))
        torch.testing.assert_close(step.parts["alignment"], function(domains.source, domains.target))
        torch.testing.assert_close(step.loss, step.parts["task"] + 3 * factor * step.parts["alignment"])


def test_corals_unit_is_that_of_the_first_batch() -> None:
    """Its weight holds for features of any size; the unit stays, is kept in checkpoints and has no gradient."""
    draw = torch.Generator().manual_seed(0)
    source, target = torch.randn(30, 5, generator=draw), 2 * torch.randn(20, 5, generator=draw)

    def alignment(method: Any, one: Tensor, other: Tensor) -> Tensor:
        return method.alignment(Domains(one, other, torch.zeros(1), torch.zeros(1)), 0.0)

    method, large = make_method("coral", point_net()), make_method("coral", point_net())
    first = alignment(method, source, target)
    torch.testing.assert_close(first, relative_coral(source, target))
    torch.testing.assert_close(alignment(large, 100 * source, 100 * target), first)
    torch.testing.assert_close(alignment(method, 2 * source, 2 * target), 16 * first)
    before = {name: value for name, value in method.state_dict().items() if name != "unit"}
    older = make_method("coral", point_net())
    older.load_state_dict(before)  # of a run that had no unit yet: it goes on with the raw loss
    torch.testing.assert_close(alignment(older, source, target), coral(source, target))
    resumed = make_method("coral", point_net())
    resumed.load_state_dict(method.state_dict())
    torch.testing.assert_close(alignment(resumed, source, target), first)
    ours = source.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(alignment(method, ours, target), ours)
    (raw,) = torch.autograd.grad(coral(ours, target), ours)
    torch.testing.assert_close(gradient, raw * (first / coral(source, target)))
    flat = alignment(make_method("coral", point_net()), torch.zeros(4, 5), torch.zeros(4, 5))
    assert float(flat) == 0


def test_ccsa_weighs_pairs_against_classification(data: Moons) -> None:
    net = point_net()
    labels = data.target_labels[:24]
    method = make_method("ccsa", net, weight=0.25, margin=2.0, distances="raw")
    step = method.loss(net, pair(*batch(data, labels)), 0.5)
    domains = both_domains(net, data.source[:32], data.target[:24], "features", SourceAverages(net))
    pairs = ccsa(domains.source, data.source_labels[:32], domains.target, labels, margin=2.0)
    torch.testing.assert_close(step.loss, 0.75 * classification_loss(step.logits, step.labels) + 0.25 * pairs)


def head_gradients(net: Blocks, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.block("layer2").parameters()), retain_graph=True))


def test_the_authors_protocol_has_the_authors_ccsa() -> None:
    """Raw distances come with their weight and margin, relative ones with those that were chosen here."""
    config = parse_config(composed_config(["+experiment=adapt_ccsa", "data.root=/splits"]))
    assert config.compare is not None
    keys = method_group(config.compare.methods[0], NAMED["adapt"])
    theirs = make_method(keys.pop("name"), point_net(), **keys)
    assert (theirs.distances, theirs.weight, theirs.config.margin) == ("raw", 0.25, 1)
    ours = make_method("ccsa", point_net())
    assert (ours.distances, ours.weight, ours.config.margin) == ("relative", 0.75, 1)
    plain = ours.config
    assert [plain.on(model).distances for model in ("small_cnn", "resnet18", "timm")] == ["raw", *["relative"] * 2]
    assert make_method("ccsa", point_net(), distances="relative").config.on("small_cnn").distances == "relative"
    assert make_method("ccsa", point_net(), weight=0.0).weight == 0


@pytest.mark.parametrize("name", ["dann", "cdan"])
@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_the_reversed_gradient_follows_the_ramp(name: str, progress: float, data: Moons) -> None:
    """Into the network goes -weight * ramp times the discriminator's gradient; the discriminator's own is whole."""
    net = point_net()
    method = make_method(name, net, weight=0.5)
    once = make_method(name, net, weight=0.5, ramp="none")  # the same discriminator
    step, whole = (each.loss(net, pair(*batch(data)), progress) for each in (method, once))
    for got, full in zip(
        head_gradients(net, step.parts["alignment"]), head_gradients(net, whole.parts["alignment"]), strict=True
    ):
        torch.testing.assert_close(got, dann_strength(progress) * full, rtol=1e-4, atol=1e-7)
    own = [
        torch.autograd.grad(result.loss, list(each.parameters()))
        for each, result in ((method, step), (once, whole))
    ]
    for got, full in zip(*own, strict=True):
        torch.testing.assert_close(got, full)


def test_descent_on_the_loss_is_ascent_of_the_network_on_the_domain_loss(data: Moons) -> None:
    net = point_net()
    method = make_method("dann", net, ramp="none")
    step = method.loss(net, pair(*batch(data)), 0.5)
    reversed_ = head_gradients(net, step.parts["alignment"])
    domains = both_domains(net, data.source[:32], data.target[:24], "features", SourceAverages(net))
    scores = [method.discriminator(side).squeeze(1) for side in (domains.source, domains.target)]  # type: ignore[operator]
    plain = (torch.nn.functional.softplus(scores[0]).mean() + torch.nn.functional.softplus(-scores[1]).mean()) / 2
    for one, other in zip(reversed_, head_gradients(net, plain), strict=True):
        torch.testing.assert_close(one, -other, rtol=1e-4, atol=1e-7)


def test_cdan_sees_features_times_classes(data: Moons) -> None:
    net = point_net()
    assert make_method("cdan", net).discriminator[0].in_features == 32 * 2  # type: ignore[index]
    plain, weighted = (
        make_method("cdan", net, entropy=entropy).loss(net, pair(*batch(data)), 0.5) for entropy in (False, True)
    )
    assert not torch.equal(plain.parts["alignment"], weighted.parts["alignment"])


def test_the_distances_of_ccsa_have_the_unit_of_the_first_batch(data: Moons) -> None:
    """Ten times as large outputs change neither the pairs' loss nor, later, its unit."""
    labels = data.target_labels[:24]
    losses, units = [], []
    for scale in (1.0, 10.0):
        net = point_net()
        with torch.no_grad():
            net.block("layer2")[1].weight.mul_(scale)  # type: ignore[index]
        method = make_method("ccsa", net)
        losses.append([method.loss(net, pair(*batch(data, labels)), 0).parts["alignment"] for _ in range(2)])
        units.append(float(method.unit))  # type: ignore[arg-type]
        shrunk = net.block("layer2")[1].weight  # type: ignore[index]
        with torch.no_grad():
            shrunk.mul_(0.5)
        losses[-1].append(method.loss(net, pair(*batch(data, labels)), 0).parts["alignment"])
        assert float(method.unit) == units[-1]  # type: ignore[arg-type]
    torch.testing.assert_close(torch.stack(losses[0]), torch.stack(losses[1]), rtol=1e-4, atol=1e-6)
    assert units[1] == pytest.approx(10 * units[0], rel=1e-4)
    raw = make_method("ccsa", point_net(), distances="raw", margin=30.0)  # active: two points are nearer
    net = point_net()
    domains = both_domains(net, data.source[:32], data.target[:24], "features", SourceAverages(net))
    expected = ccsa(domains.source, data.source_labels[:32], domains.target, labels, 30.0)
    step = raw.loss(point_net(), pair(*batch(data, labels)), 0)
    torch.testing.assert_close(step.parts["alignment"], expected)


@pytest.mark.parametrize("name", ["mcc", "bnm"])
def test_methods_of_the_answers_see_the_targets_alone(name: str, data: Moons) -> None:
    net = point_net()
    method, (source, labels, target, hidden) = make_method(name, net), batch(data)
    step = method.loss(net, pair(source, labels, target, hidden), 0.1)
    other = method.loss(net, pair(source.flip(0), labels, target, hidden), 0.9)
    assert torch.equal(step.parts["alignment"], other.parts["alignment"])
    torch.testing.assert_close(step.loss, step.parts["task"] + step.parts["alignment"])


def test_adabn_changes_batchnorm_statistics_alone(data: Moons) -> None:
    net, _ = train_on_moons("source_only", data, steps=50)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    make_method("adabn", net).finish(net, data.target)
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed == {key for key in before if key.endswith(statistics)}
    assert all(module.momentum == 0.1 for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    # The first layer's are those of the whole target.
    maps = net.block("stem")[0](net.inputs(data.target)).transpose(0, 1).flatten(1).double()  # type: ignore[index]
    layer = net.block("stem")[1]  # type: ignore[index]
    torch.testing.assert_close(layer.running_mean.double(), maps.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.running_var.double(), maps.var(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("other", [torch.nn.GroupNorm(1, 32), torch.nn.BatchNorm2d(32, track_running_stats=False)])
def test_adabn_needs_averages_of_batchnorm(other: torch.nn.Module) -> None:
    net = point_net()
    for name in ("stem", "layer1", "layer2"):
        net.block(name)[1] = other  # type: ignore[index]
    with pytest.raises(UserError, match=r"adaptation=adabn .* BatchNorm .* e\.g\. model=resnet18"):
        make_method("adabn", net)


def test_fine_tuning_goes_from_the_source_to_the_labelled_target(data: Moons) -> None:
    net, labels = point_net(), data.target_labels[:24]
    method = make_method("fine_tune", net, source_share=0.5)
    for progress, expected in ((0.0, data.source_labels[:32]), (0.49, data.source_labels[:32]), (0.5, labels)):
        assert torch.equal(method.loss(net, pair(*batch(data, labels)), progress).labels, expected)


def test_task_loss_skips_images_without_a_label() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, HIDDEN, 2, HIDDEN])
    torch.testing.assert_close(
        classification_loss(logits, labels), torch.nn.functional.cross_entropy(logits[::2], labels[::2])
    )
    logits.requires_grad_()
    nothing = classification_loss(logits, torch.full((4,), HIDDEN))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()  # type: ignore[union-attr]


def test_each_domain_has_its_own_statistics_and_the_target_keeps_them(data: Moons) -> None:
    net, other = point_net(), point_net()
    domains = both_domains(net, data.source[:32], data.target[:24], "layer1", SourceAverages(net))
    target = other(data.target[:24])  # the running averages of a pass of the target alone
    assert all(
        torch.equal(value, net.state_dict()[key]) for key, value in other.state_dict().items() if "run" in key
    )
    torch.testing.assert_close(domains.target_logits, target)
    torch.testing.assert_close(domains.source, point_net()(data.source[:32], stop="layer1").mean((2, 3)))
    assert all(module.momentum == 0.1 for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert (width(net, "layer1"), width(net, "features")) == (32, 32)
    assert net.training  # `width` leaves the mode as it was


@pytest.mark.parametrize("name", ["mmd", "ccsa", "dsn"])
def test_the_sources_averages_are_those_of_its_own_passes(name: str, data: Moons) -> None:
    """They begin where the network is, move by the source's batches alone, and validation sees them."""
    net, other = point_net(), point_net()
    for each in (net, other):
        each.block("stem")[1].running_mean.fill_(0.5)  # type: ignore[index] (as of weights that were loaded)
    method = make_method(name, point_net())
    method.begin(net)
    for start in (0, 32):
        part = slice(start, start + 32)
        theirs = data.target[part], data.target_labels[part]
        method.loss(net, pair(data.source[part], data.source_labels[part], *theirs), 0)
        other(data.source[part])
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    with method.as_source(net):
        for key, value in other.state_dict().items():
            assert torch.equal(net.state_dict()[key], value) or "num_batches" in key
        torch.testing.assert_close(net.eval()(data.source), other.eval()(data.source))
    assert all(torch.equal(net.state_dict()[key], value) for key, value in kept.items())
    assert not torch.equal(kept["blocks.stem.1.running_mean"], other.block("stem")[1].running_mean)  # type: ignore[index]


def test_the_sources_averages_are_resumed_and_may_be_missing() -> None:
    net, method = point_net(), make_method("mmd", point_net())
    method.begin(net)
    method.averages.mean0.fill_(3)  # type: ignore[union-attr]
    resumed = make_method("mmd", point_net())
    resumed.load_state_dict(method.state_dict())
    resumed.begin(net)
    assert float(resumed.averages.mean0.mean()) == 3  # type: ignore[union-attr]
    before = {key: value for key, value in method.state_dict().items() if not key.startswith("averages.")}
    older = make_method("mmd", point_net())
    older.load_state_dict(before)
    older.begin(net)
    assert torch.equal(older.averages.mean0, net.block("stem")[1].running_mean)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", GROUPS["adaptation"])
def test_the_shipped_file_has_exactly_the_fields_and_defaults(name: str) -> None:
    shipped = OmegaConf.to_container(OmegaConf.load(conf_dir() / "adaptation" / f"{name}.yaml"))
    assert shipped == vars(GROUPS["adaptation"][name].keys(name))
    assert set(GROUPS["adaptation"]) == {path.stem for path in (conf_dir() / "adaptation").glob("*.yaml")}
