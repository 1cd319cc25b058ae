"""The closed form on all blocks: against scikit-learn and numpy, and in any order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from tests.conftest import composed, go
from tests.continual.conftest import finish_task, tiny_stream
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.continual.learner import MethodScores
from tlcl.continual.methods.base import Setting
from tlcl.continual.methods.layers import RIDGES, UNIT, Layers, fixed_point
from tlcl.continual.methods.registry import build_method
from tlcl.data.sources.digits import load_digits
from tlcl.errors import UserError
from tlcl.explain.gradcam import block_of_maps, last_asked
from tlcl.jobs.finished import load_run
from tlcl.models.blocks import FEATURES, Blocks, beside
from tlcl.models.build import build_model
from tlcl.models.inference import predict
from tlcl.models.tail import Given, SplitNetwork
from tlcl.seeding import generator

K, D = 4, 9


def method(**keys: Any) -> Layers:
    setting = Setting(torch.ones(K, K, dtype=torch.bool), (D,), torch.float32, D, seed=3)
    made = build_method(GROUPS["method"]["layers"].keys(name="layers", **keys), setting, Given())
    assert isinstance(made, Layers)
    return made


def data(count: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes of different sizes, one column that never changes."""
    random = generator(seed, "layers")
    drawn, most = (torch.randint(low, K, (count,), generator=random) for low in (0, 1))
    labels = drawn.clamp_max(most)
    means, mix = torch.randn(K, D, generator=random), torch.randn(D, D, generator=random)
    features = 1 + means[labels] + torch.randn(count, D, generator=random) @ mix
    features[:, 4] = 0.5
    return features, labels


def fitted(features: Tensor, labels: Tensor, size: int = 16, **keys: Any) -> Layers:
    made, stream = method(**keys), tiny_stream()
    for part, own in zip(features.split(size), labels.split(size), strict=True):
        made.observe_features(part, own)
    finish_task(made, Given(), stream, stream.tasks[0])
    return made


def standardised(features: Tensor) -> np.ndarray:
    fixed = fixed_point(features).numpy()
    deviation = fixed.std(0)
    return (fixed - fixed.mean(0)) / np.where(deviation > 0, deviation, np.inf)


def test_it_is_scikit_learns_ridge_on_standardised_inputs() -> None:
    features, labels = data()
    made, targets = fitted(features, labels), np.eye(K)[labels]
    theirs = Ridge(alpha=float(made.ridge)).fit(standardised(features), targets)
    expected = theirs.predict(standardised(features))
    np.testing.assert_allclose(made.predict(Given(), features).numpy(), expected, rtol=1e-9, atol=1e-9)


def errors_by_hand(inputs: np.ndarray, targets: np.ndarray) -> list[float]:
    """Generalised cross-validation with the hat matrix itself, of the regression with a mean."""
    count, found = len(inputs), []
    centred = targets - targets.mean(0)
    for ridge in RIDGES:
        hat = inputs @ np.linalg.solve(inputs.T @ inputs + ridge * count * np.eye(D), inputs.T)
        hat = hat + np.full((count, count), 1 / count)
        left = (np.eye(count) - hat) @ centred
        found.append((left**2).sum() / count / (1 - np.trace(hat) / count) ** 2)
    return found


def test_the_ridge_has_the_smallest_error_by_generalised_cross_validation() -> None:
    features, labels = data()
    made, inputs = fitted(features, labels), standardised(features)
    by_hand = errors_by_hand(inputs, np.eye(K)[labels])
    assert float(made.ridge) == pytest.approx(RIDGES[int(np.argmin(by_hand))] * len(labels))
    assert 0 < int(np.argmin(by_hand)) < len(RIDGES) - 1


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_of_fewer_examples_than_columns_rounding_has_no_say(offset: float) -> None:
    """Eigenvalues that are zero but for rounding; by hand with the singular values of the inputs themselves."""
    generator = torch.Generator().manual_seed(2)
    centres = torch.randn(3, 400, generator=generator)
    labels = torch.arange(30) % 3
    features = offset + centres[labels] + 2 * torch.randn(30, 400, generator=generator)
    setting = Setting(torch.ones(3, 3, dtype=torch.bool), (400,), torch.float32, 400, seed=3)
    made: Any = build_method(GROUPS["method"]["layers"].keys(name="layers"), setting, Given())
    made.observe_features(features, labels)
    made.end_task(Given(), None)
    inputs, targets = standardised(features), np.eye(3)[labels]
    centred = targets - targets.mean(0)
    left, values, _ = np.linalg.svd(inputs, full_matrices=False)
    left, squares = left[:, values > 1e-6], values[values > 1e-6] ** 2
    by_hand = []
    for ridge in RIDGES:
        share = squares / (squares + 30 * ridge)
        residual = centred - left @ (share[:, None] * (left.T @ centred))
        by_hand.append((residual**2).sum() / 30 / (1 - (1 + share.sum()) / 30) ** 2)
    assert float(made.ridge) == pytest.approx(RIDGES[int(np.argmin(by_hand))] * 30)


def test_that_error_is_about_that_of_leaving_each_example_out() -> None:
    features, labels = data(300, seed=1)
    inputs, targets = standardised(features), np.eye(K)[labels]
    by_hand, place = errors_by_hand(inputs, targets), 20
    ridge, left = RIDGES[place] * len(labels), 0.0
    for one in range(len(labels)):
        rest = np.arange(len(labels)) != one
        model = Ridge(alpha=ridge).fit(inputs[rest], targets[rest])
        left += float(((model.predict(inputs[[one]])[0] - targets[one]) ** 2).sum()) / len(labels)
    assert by_hand[place] == pytest.approx(left, rel=0.03)


@pytest.mark.parametrize("projection", [0, 12])
def test_any_order_and_batches_give_the_same_sums_to_the_bit(projection: int) -> None:
    features, labels = data()
    made = fitted(features, labels, projection=projection)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
    by_class = labels.argsort(stable=True)
    for chosen, size in ((order, 7), (by_class, 1), (by_class.flip(0), 120)):
        other = fitted(features[chosen], labels[chosen], size, projection=projection)
        for name in ("gram", "class_sums", "counts", "weight", "bias", "ridge"):
            assert torch.equal(made.get_buffer(name), other.get_buffer(name)), name


def test_any_order_of_the_classes_gives_the_same_classifier() -> None:
    features, labels = data()
    turned = torch.tensor([2, 0, 3, 1])
    made, other = fitted(features, labels), fitted(features, turned[labels])
    ours, theirs = made.predict(Given(), features), other.predict(Given(), features)
    torch.testing.assert_close(ours, theirs[:, turned], rtol=1e-10, atol=1e-12)
    assert float(made.ridge) == float(other.ridge)


def test_tasks_one_after_another_are_all_at_once() -> None:
    features, labels = data()
    whole, parted, stream = fitted(features, labels), method(), tiny_stream()
    for classes in ((3, 1), (0, 2)):
        part = torch.isin(labels, torch.tensor(classes))
        parted.observe_features(features[part], labels[part])
        finish_task(parted, Given(), stream, stream.tasks[0])
    assert torch.equal(whole.weight, parted.weight)
    assert torch.equal(whole.bias, parted.bias)


def test_fixed_point_is_exact_where_floats_are_not() -> None:
    values = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * 100 - 30
    fixed = fixed_point(values)
    assert torch.equal(fixed, fixed.round())
    assert float(fixed.abs().max()) <= 2**14
    torch.testing.assert_close((fixed / UNIT).float(), values.clamp(-64, 64), rtol=0, atol=0.5 / UNIT)
    exact = sum(int(a) * int(b) for a, b in fixed[:, :2].tolist())
    assert int((fixed.T @ fixed)[0, 1]) == exact == int((fixed.flip(0).T @ fixed.flip(0))[0, 1])


def test_what_rounding_alone_moves_tells_nothing() -> None:
    """A column that is constant but for one step of fixed point in one image has no weight."""
    features, labels = data()
    features[7, 4] += 1 / UNIT
    made = fitted(features, labels)
    assert not made.weight[:, 4].any()
    assert made.weight[:, 3].any()


def test_columns_are_relus_of_a_projection() -> None:
    features, labels = data()
    made = fitted(features, labels, projection=12)
    own = made.inputs(features)
    by_hand = np.maximum(fixed_point(features).numpy() / UNIT @ (made.columns.numpy() / UNIT), 0)
    np.testing.assert_allclose(own[:, D:].numpy() / UNIT, by_hand, atol=0.5 / UNIT + 1e-9)
    assert torch.equal(own[:, :D], fixed_point(features))
    assert made.columns.std() / UNIT == pytest.approx(D**-0.5, rel=0.3)


MODELS = {
    "maps": ["model=resnet18", "model.input_size=32"],
    "tokens": ["model=timm", "model.arch=deit_tiny_patch16_224", "model.input_size=32"],
    "NHWC": ["model=timm", "model.arch=swin_tiny_patch4_window7_224", "model.input_size=64"],
}


def network(kind: str) -> Blocks:
    config = parse_config(composed_config([*MODELS[kind], "model.weights=none", "logger=none"]))
    return build_model(config.model, 4, 0)[0].eval()


def place_of(net: Blocks, blocks: Any = "all") -> str:
    return Layers.place(GROUPS["method"]["layers"].keys(name="layers", blocks=blocks), net)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_vectors_are_means_and_deviations_of_every_block(kind: str) -> None:
    net = network(kind)
    images = torch.randint(0, 256, (3, 3, 40, 40), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = []
    for name in net.names[:-1]:
        maps = net.maps(name, net(images, stop=name))
        assert maps is not None
        flat = maps.flatten(2).numpy()
        for one in (flat.mean(2), flat.std(2))[: 2 if flat.shape[2] > 1 else 1]:
            expected.append(one / np.sqrt((one**2).mean(1, keepdims=True)))
    found = net(images, stop=beside(net.names[:-1])).numpy()
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=2e-3, atol=2e-4)
    assert net(images, stop=beside([FEATURES])).shape[1] == net.classifier.in_features


def test_features_come_beside_only_where_they_tell_more() -> None:
    """A CNN's are the last block's means; a ViT's are its class token, which no mean over the places has."""
    cnn, vit = network("maps"), network("tokens")
    assert place_of(cnn) == "stem+layer1+layer2+layer3+layer4+"
    assert place_of(vit).endswith(f"+{FEATURES}+")
    assert place_of(cnn, ["layer4", "stem"]) == "stem+layer4+"
    for wrong in (["layer9"], [], "layer4", 3, [["layer4"]], [None]):
        with pytest.raises(UserError, match=r"method\.blocks=.* must be all or a list of stem, .*, features"):
            place_of(cnn, wrong)


def test_a_map_is_of_a_block_that_the_answer_depends_on() -> None:
    net = network("maps")
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    rest = MethodScores(Given(), method())
    for place, last in (("stem+layer1+", "layer1"), ("stem+layer4+", "layer4")):
        classifier = SplitNetwork(net, place, rest)
        assert last_asked(classifier) == last
        assert block_of_maps(net, images, None, last) in ("layer1", "layer2")
    assert last_asked(SplitNetwork(net, FEATURES, rest)) is None
    with pytest.raises(UserError, match=r"--block=layer3 is not one of stem, layer1$"):
        block_of_maps(net, images, "layer3", "layer1")


RUN = ["+experiment=continual_digits", "method=layers", "data.train_size=300", "model.weights=none", "logger=none"]


def test_a_run_and_what_answers_after_it(tmp_path: Path) -> None:
    """On random weights all blocks tell more than the last one; the finished run answers as it was tested."""
    path = go(composed(tmp_path, *RUN))
    last = go(composed(tmp_path / "last", *RUN, "method.blocks=[features]"))
    summaries = [json.loads((run / "summary.json").read_text()) for run in (path, last)]
    assert summaries[0]["final_accuracy"] > summaries[1]["final_accuracy"] + 0.05
    assert summaries[0]["inputs"] == "outputs of 5 places, stem to layer4, computed once"
    stored = np.load(path / "test_predictions.npz")["probabilities"]
    net, _, config = load_run(path)
    again = predict(net, load_digits().test.images, batch_size=100, precision=config.trainer.precision)
    np.testing.assert_allclose(again.numpy(), stored, atol=0.05)
    assert (again.argmax(1).numpy() == stored.argmax(1)).mean() > 0.98
    kept = torch.load(path / "method.pt", weights_only=True)["state"]
    assert set(kept) == {"seen", "old", "weight", "bias", "ridge", "columns"}  # no sums
