"""NCM, SLDA and RanPAC against scikit-learn and numpy."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from tlcl.config.registry import GROUPS
from tlcl.continual.methods.base import Setting, TaskData
from tlcl.continual.methods.ranpac import RIDGES, held_out
from tlcl.continual.methods.registry import build_method
from tlcl.seeding import generator

K, D = 4, 6
CLOSED = ("ncm", "slda", "ranpac")


class Given(nn.Module):
    """A network whose inputs are the features."""

    def features(self, inputs: Tensor) -> Tensor:
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError


def closed_form(name: str, **keys: Any) -> Any:
    if name == "ranpac":
        keys = {"projection": 40, **keys}
    setting = Setting(torch.ones(K, K, dtype=torch.bool), (D,), torch.float32, D, seed=3)
    return build_method(GROUPS["method"][name].keys(name=name, **keys), setting, Given())  # type: ignore[arg-type]


def data(counts: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes with a common, far from round, covariance; in a random order."""
    random = generator(seed, "features")
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=random)]
    means, mix = torch.randn(len(counts), D, generator=random), torch.randn(D, D, generator=random)
    return 3 + means[labels] + torch.randn(len(labels), D, generator=random) @ mix, labels


def observe(method: Any, features: Tensor, labels: Tensor, size: int) -> None:
    for part, own in zip(features.split(size), labels.split(size), strict=True):
        method.observe_features(part, own)


def end(method: Any, features: Tensor, labels: Tensor) -> None:
    """After all examples of a task; their features stand for the images as well."""
    with torch.no_grad():
        method.end_task(Given(), TaskData(features, labels, torch.arange(len(labels)), features))


def fitted(name: str, features: Tensor, labels: Tensor, size: int = 7, **keys: Any) -> Any:
    method = closed_form(name, **keys)
    observe(method, features, labels, size)
    end(method, features, labels)
    return method


def predicted(method: Any, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = method.predict(Given(), inputs)
    return scores


@pytest.mark.parametrize("name", CLOSED)
def test_nothing_is_trained_by_steps(name: str) -> None:
    method = closed_form(name)
    assert list(method.parameters()) == []
    assert method.closed_form
    assert not any(value.requires_grad for value in method.state_dict().values())


@pytest.mark.parametrize("name", CLOSED)
def test_batches_and_tasks_do_not_matter(name: str) -> None:
    """Of any size; tasks as they come, with equal counts in between."""
    features, labels = data([30, 8, 17, 20])
    inputs, _ = data([10] * K, seed=1)
    expected = predicted(fitted(name, features, labels, size=75), inputs)
    for size in (1, 7, 32):
        torch.testing.assert_close(predicted(fitted(name, features, labels, size), inputs), expected)


@pytest.mark.parametrize("name", ["ncm", "slda"])
def test_order_does_not_matter(name: str) -> None:
    """Class after class in tasks, or all mixed."""
    features, labels = data([30, 8, 17, 20])
    inputs, _ = data([10] * K, seed=1)
    expected = predicted(fitted(name, features, labels), inputs)
    method = closed_form(name)
    for label in (2, 0, 3, 1):
        observe(method, features[labels == label], labels[labels == label], 5)
        end(method, features[labels == label], labels[labels == label])
    torch.testing.assert_close(predicted(method, inputs), expected)
    order = torch.randperm(len(labels), generator=generator(0, "order"))
    torch.testing.assert_close(predicted(fitted(name, features[order], labels[order]), inputs), expected)


def test_ncm_is_the_nearest_mean() -> None:
    features, labels = data([30, 8, 17, 20])
    inputs, _ = data([10] * K, seed=1)
    method = fitted("ncm", features, labels)
    means = np.stack([features[labels == label].double().numpy().mean(0) for label in range(K)])
    np.testing.assert_allclose(method.means.numpy(), means, rtol=1e-12)
    distances = ((inputs.double().numpy()[:, None] - means[None]) ** 2).sum(2)
    np.testing.assert_allclose(predicted(method, inputs).numpy(), -distances, rtol=1e-9)


def test_ncm_tells_near_means_apart_far_from_the_origin() -> None:
    features = torch.tensor([[1000.0] * D, [1000.0] * (D - 1) + [1000.01]])
    method = fitted("ncm", features, torch.tensor([0, 1]))
    assert predicted(method, features)[:, :2].argmax(1).tolist() == [0, 1]


def within_covariance(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    centred = features.copy()
    for label in np.unique(labels):
        centred[labels == label] -= features[labels == label].mean(0)
    return centred.T @ centred / len(labels)


@pytest.mark.parametrize("counts", [[20] * K, [30, 8, 17, 1]], ids=["balanced", "unbalanced"])
def test_slda_covariance_is_pooled_within_the_classes(counts: list[int]) -> None:
    """To the last digits, though it came in batches, far from the origin and class means moved meanwhile."""
    features, labels = data(counts)
    features = features + 100
    method = fitted("slda", features, labels, size=5)
    expected = within_covariance(features.double().numpy(), labels.numpy())
    np.testing.assert_allclose((method.scatter / method.counts.sum()).numpy(), expected, rtol=1e-9, atol=1e-10)
    assert method.counts.tolist() == counts


@pytest.mark.parametrize("shrinkage", [1e-4, 0.3, 1.0])
def test_slda_scores_are_those_of_lda(shrinkage: float) -> None:
    features, labels = data([30, 8, 17, 20])
    inputs, _ = data([10] * K, seed=1)
    x, y = features.double().numpy(), labels.numpy()
    precision = np.linalg.inv((1 - shrinkage) * within_covariance(x, y) + shrinkage * np.eye(D))
    means = np.stack([x[y == label].mean(0) for label in range(K)])
    expected = inputs.double().numpy() @ precision @ means.T
    expected = expected - 0.5 * np.einsum("kd,de,ke->k", means, precision, means)
    scores = predicted(fitted("slda", features, labels, shrinkage=shrinkage), inputs)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_slda_agrees_with_scikit_learn() -> None:
    """Balanced classes and equal priors; with next to no shrinkage also the scores, up to the priors' constant."""
    features, labels = data([25] * K)
    inputs, _ = data([50] * K, seed=1)
    lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / K] * K).fit(
        features.double().numpy(), labels.numpy()
    )
    scores = predicted(fitted("slda", features, labels, shrinkage=1e-10), inputs)
    theirs = lda.decision_function(inputs.double().numpy())
    np.testing.assert_allclose(scores.numpy() - np.log(K), theirs, rtol=1e-5, atol=1e-5)
    assert scores.argmax(1).tolist() == lda.predict(inputs.double().numpy()).tolist()
    ncm = predicted(fitted("ncm", features, labels), inputs).argmax(1)
    assert scores.argmax(1).tolist() != ncm.tolist()


def projected(method: Any, features: Tensor) -> np.ndarray:
    """relu(z W) by numpy."""
    result: np.ndarray = np.maximum(features.double().numpy() @ method.weights.double().numpy(), 0)
    return result


def ridge_scores(x: np.ndarray, y: np.ndarray, alpha: float, inputs: np.ndarray) -> np.ndarray:
    targets = np.eye(K)[y]
    model = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky").fit(x, targets)
    result: np.ndarray = model.predict(inputs)
    return result


def test_ranpac_is_ridge_regression_on_the_projected_features() -> None:
    """Three tasks, the ridge of each chosen by brute force among all 17."""
    method = closed_form("ranpac", projection=20)
    inputs, _ = data([10] * K, seed=9)
    before_x, before_y = np.empty((0, 20)), np.empty(0, dtype=int)
    for task, counts in enumerate([[20, 31, 0, 0], [0, 0, 33, 0], [0, 0, 1, 26]]):
        features, labels = data(counts, seed=task)
        observe(method, features, labels, 6)
        end(method, features, labels)
        x, y = projected(method, features), labels.numpy()
        held = held_out(features).numpy()
        assert 0 < held.sum() < len(held)
        fit_x, fit_y = np.concatenate([before_x, x[~held]]), np.concatenate([before_y, y[~held]])
        errors = [((ridge_scores(fit_x, fit_y, a, x[held]) - np.eye(K)[y[held]]) ** 2).mean() for a in RIDGES]
        assert float(method.ridge) == pytest.approx(RIDGES[int(np.argmin(errors))])
        before_x, before_y = np.concatenate([before_x, x]), np.concatenate([before_y, y])
        expected = ridge_scores(before_x, before_y, float(method.ridge), projected(method, inputs))
        np.testing.assert_allclose(predicted(method, inputs).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_ranpac_holds_out_a_fifth_whatever_the_order() -> None:
    """Sorted by class, as a folder has them, or shuffled: the same images, ridge and classifier."""
    features, labels = data([300, 200, 250, 250])
    held, order = held_out(features), labels.argsort()
    assert float(held.double().mean()) == pytest.approx(0.2, abs=0.04)  # three deviations of a binomial
    assert torch.equal(held_out(features[order]), held[order])
    shuffled = fitted("ranpac", features, labels)
    by_class = fitted("ranpac", features[order], labels[order], size=64)
    assert torch.equal(shuffled.ridge, by_class.ridge)
    torch.testing.assert_close(predicted(by_class, features), predicted(shuffled, features))


def test_ranpac_holds_out_the_same_images_whatever_the_last_bits_of_their_features() -> None:
    """Of a pool, in which a task's images lie anywhere; kernels may be others in another batch."""
    features, labels = data([30, 30, 0, 0])
    images = torch.randint(256, (90, 3, 4, 4), dtype=torch.uint8, generator=generator(5, "images"))
    indices = torch.randperm(90, generator=generator(6, "indices"))[:60].sort().values
    held = torch.tensor([
        int.from_bytes(hashlib.blake2b(images[index].numpy().tobytes(), digest_size=16).digest()[:8], "little") % 5
        == 0 for index in indices.tolist()
    ])  # fmt: skip
    assert 0 < held.sum() < len(held)
    for moved in (features, features.nextafter(torch.tensor(torch.inf))):
        method = closed_form("ranpac", projection=20)
        observe(method, moved, labels, 7)
        method.end_task(Given(), TaskData(moved, labels, indices, images))
        x, y = projected(method, moved), labels.numpy()
        kept, out = ~held.numpy(), held.numpy()
        errors = [((ridge_scores(x[kept], y[kept], a, x[out]) - np.eye(K)[y[out]]) ** 2).mean() for a in RIDGES]
        assert float(method.ridge) == pytest.approx(RIDGES[int(np.argmin(errors))])


@pytest.mark.parametrize("images", [1, 2, 4])
def test_ranpac_of_a_few_images(images: int) -> None:
    """Of so few none, or all, may be held out."""
    for seed in range(20):
        features, labels = data([images, images, 0, 0], seed)
        method, held = fitted("ranpac", features, labels), held_out(features)
        assert bool(predicted(method, features).isfinite().all())
        if held.all() or not held.any():
            mean = (projected(method, features) ** 2).sum(0).mean()
            assert float(method.ridge) == pytest.approx(mean)


def test_ranpac_ridges_are_those_of_the_paper() -> None:
    np.testing.assert_allclose(RIDGES, 10.0 ** np.arange(-8, 9))


def test_ranpac_projection_is_fixed_standard_normal_and_of_the_seed() -> None:
    method, again = closed_form("ranpac", projection=400), closed_form("ranpac", projection=400)
    assert torch.equal(method.weights, again.weights)
    assert method.weights.shape == (D, 400)
    assert float(method.weights.mean()) == pytest.approx(0, abs=4 / (D * 400) ** 0.5)
    assert float(method.weights.std()) == pytest.approx(1, abs=0.06)
    other = Setting(torch.ones(K, K, dtype=torch.bool), (D,), torch.float32, D, seed=4)
    config = GROUPS["method"]["ranpac"].keys(name="ranpac", projection=400)
    changed: Any = build_method(config, other, Given())  # type: ignore[arg-type]
    assert not torch.equal(method.weights, changed.weights)


def test_ranpac_with_more_columns_than_examples() -> None:
    """The Gram matrix is singular then; the answers stay finite, and near the targets."""
    features, labels = data([10] * K)
    method = fitted("ranpac", features, labels, projection=300)
    scores = predicted(method, features)
    assert bool(scores.isfinite().all())
    assert float((scores.argmax(1) == labels).double().mean()) > 0.6


@pytest.mark.parametrize("name", CLOSED)
def test_mixed_precision_does_not_touch_the_answers(name: str) -> None:
    """The statistics were gathered in full precision; features are answered in it too."""
    features, labels = data([20] * K)
    inputs, _ = data([50] * K, seed=1)
    method = fitted(name, features, labels)
    expected = predicted(method, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(predicted(method, inputs), expected)


@pytest.mark.parametrize("name", ["ncm", "slda"])
def test_as_last_layer_gives_the_same_answers(name: str) -> None:
    features, labels = data([30, 8, 17, 20])
    inputs, _ = data([50] * K, seed=1)
    method = fitted(name, features, labels)
    weight, bias = method.as_last_layer()
    scores = predicted(method, inputs)
    difference = inputs.double() @ weight.T + bias - scores
    torch.testing.assert_close(difference - difference[:, :1], torch.zeros_like(difference), rtol=0, atol=1e-9)
    assert weight.shape == (K, D)
    assert bias.shape == (K,)
