"""Distances of domains and transferability scores against closed forms, hand calculations and an optimiser."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm

from tlcl.adaptation.distance import leep, logme, mmd_distance, proxy_a_distance
from tlcl.adaptation.evaluate import Responses, a_distance, embedded
from tlcl.adaptation.losses import mk_mmd
from tlcl.data.content_order import content_order
from tlcl.errors import UserError


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_distance_of_equal_distributions_is_zero_whatever_their_sizes(random: np.random.Generator) -> None:
    """Also for classifiers below chance, half of them, which would be nearer than equal."""
    for n, m in ((1000, 1000), (2000, 200)):
        source, target = random.normal(size=(n, 4)), random.normal(size=(m, 4))
        values = [proxy_a_distance(source, target, seed) for seed in range(8)]
        assert min(values) == 0
        assert max(values) < 0.2


def test_a_distance_is_of_images_the_classifier_has_not_seen(random: np.random.Generator) -> None:
    """With more features than images any labels can be learnt by heart, which would give 2."""
    assert proxy_a_distance(random.normal(size=(60, 200)), random.normal(size=(60, 200)), seed=0) < 0.7


def test_a_distance_of_separable_domains_is_two(random: np.random.Generator) -> None:
    """In any unit of the features."""
    source, target = random.normal(size=(50, 3)), random.normal(size=(70, 3))
    target[:, 1] += 20
    units = np.array([1e4, 1e-4, 1])
    assert proxy_a_distance(source, target, seed=0) == 2
    assert proxy_a_distance(source * units, target * units, seed=0) == 2


def test_a_distance_of_two_gaussians(random: np.random.Generator) -> None:
    """The best error of N(0, 1) and N(delta, 1) is Phi(-delta / 2)."""
    for delta in (0.5, 1.0, 2.0):
        source, target = random.normal(size=(4000, 1)), random.normal(size=(2000, 1)) + delta
        expected = 2 * (1 - 2 * norm.cdf(-delta / 2))
        assert proxy_a_distance(source, target, seed=0) == pytest.approx(expected, abs=0.08)


def test_a_distance_weighs_the_domains_errors_equally() -> None:
    """Half of the source lies where all of the larger target does: errors 1/2 and 0, e = 1/4."""
    source, target = np.repeat([[-1.0], [1.0]], 50, axis=0), np.full((1000, 1), -1.0)
    assert proxy_a_distance(source, target, seed=0) == pytest.approx(1, abs=0.05)
    assert proxy_a_distance(np.tile(source, (20, 1)), target, seed=0) == pytest.approx(1, abs=0.05)


def test_a_distance_depends_on_its_seed_alone(random: np.random.Generator) -> None:
    source, target = random.normal(size=(50, 3)), random.normal(size=(50, 3)) + 0.5
    values = [proxy_a_distance(source, target, seed) for seed in (0, 0, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_a_distance_does_not_depend_on_the_order_of_the_images(random: np.random.Generator) -> None:
    source, target = random.normal(size=(50, 3)), random.normal(size=(40, 3)) + 0.5
    first = proxy_a_distance(source, target, seed=0)
    for _ in range(5):
        assert proxy_a_distance(random.permutation(source), random.permutation(target), seed=0) == first


def test_an_order_by_content_has_no_other_part() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(256, (40, 3, 4), dtype=torch.uint8, generator=draw)
    chosen = content_order(rows, 0, "one")
    assert sorted(chosen.tolist()) == list(range(40))
    mixed = torch.randperm(40, generator=draw)
    assert torch.equal(rows[mixed][content_order(rows[mixed], 0, "one")], rows[chosen])
    assert all(not torch.equal(content_order(rows, *other), chosen) for other in ((1, "one"), (0, "two")))
    halves = rows.flatten(1).bfloat16()  # features of 16 bits, which numpy has no name for
    first, other = (one[content_order(one, 0, "one")] for one in (halves, halves[mixed]))
    assert torch.equal(first, other)
    # As good as random: the mean place of the first half, of 20 without replacement from 0..39, is 19.5 +- 1.8.
    assert abs(float(chosen[:20].double().mean()) - 19.5) < 5.5


@pytest.mark.parametrize("value", [0.0, 3.0, math.nan, math.inf])
def test_a_network_that_has_collapsed_is_drawn_as_one_point(value: float) -> None:
    both = [Responses(torch.full((30, 4), value), torch.full((30, 2), 0.5)) for _ in range(2)]
    assert (embedded(both, [torch.arange(30)] * 2) == np.zeros((60, 2))).all()
    if math.isfinite(value):
        assert a_distance(both, [torch.arange(30)] * 2) == pytest.approx(0, abs=1e-9)


def test_a_distance_needs_two_halves() -> None:
    with pytest.raises(UserError, match="at least 2"):
        proxy_a_distance(np.zeros((1, 2)), np.zeros((5, 2)), seed=0)


def test_mmd_distance_is_a_root_clipped_at_zero(random: np.random.Generator) -> None:
    source, target = random.normal(size=(20, 3)), random.normal(size=(30, 3)) + 1
    squared = float(mk_mmd(torch.from_numpy(source), torch.from_numpy(target)))
    assert mmd_distance(source, target) ** 2 == pytest.approx(squared)
    assert mmd_distance(source, source) == 0  # its square is negative


def test_leep_by_hand() -> None:
    """P(z) = (1/2, 1/2); P(0 | z) = (14/15, 2/5) and P(1 | z) = (1/15, 3/5)."""
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    likelihoods = [0.8 * 14 / 15 + 0.2 * 2 / 5, 0.6 * 14 / 15 + 0.4 * 2 / 5, 0.1 / 15 + 0.9 * 3 / 5]
    assert leep(probabilities, np.array([0, 0, 1])) == pytest.approx(sum(map(math.log, likelihoods)) / 3)
    # A label's name does not count, nor a source class no image has.
    wider = np.insert(probabilities, 1, 0, axis=1)
    assert leep(wider, np.array([7, 7, 3])) == pytest.approx(sum(map(math.log, likelihoods)) / 3)


def test_leep_lies_between_the_entropy_of_the_labels_and_zero(random: np.random.Generator) -> None:
    for sharpness in (0.1, 1, 10):
        probabilities = random.dirichlet(np.full(6, 1 / sharpness), size=50)
        labels = random.integers(0, 3, 50)
        shares = np.bincount(labels) / 50
        assert (shares * np.log(shares)).sum() < leep(probabilities, labels) < 0


def test_leep_of_a_perfect_and_of_an_ignorant_source() -> None:
    """Four source classes of which pairs mean one label each; then the same answer for every image."""
    classes = np.array([0, 1, 2, 3, 0, 1, 0])
    assert leep(np.eye(4)[classes], classes // 2) == pytest.approx(0, abs=1e-12)
    entropy = -(5 / 7 * math.log(5 / 7) + 2 / 7 * math.log(2 / 7))
    assert leep(np.full((7, 4), 0.25), classes // 2) == pytest.approx(-entropy)


def evidence_by_optimiser(features: np.ndarray, labels: np.ndarray) -> float:
    """Best log density of y under N(0, b I + a F F^T) by a search over log a and log b, mean over classes."""
    n = len(features)
    gram = features @ features.T

    def cost(logs: np.ndarray, y: np.ndarray) -> float:
        a, b = np.exp(logs)
        return -multivariate_normal.logpdf(y, cov=b * np.eye(n) + a * gram, allow_singular=True) / n

    best = []
    for label in np.unique(labels):
        y = (labels == label).astype(float)
        bounds = [(-15, 10), (-16, 10)]
        starts = [np.array([0.0, 0.0]), np.array([-5.0, -2.0]), np.array([-2.0, -6.0])]
        found = [minimize(cost, s, (y,), method="Nelder-Mead", bounds=bounds, tol=1e-9) for s in starts]
        best.append(-min(result.fun for result in found))
    return float(np.mean(best))


@pytest.mark.parametrize(("n", "d"), [(30, 5), (20, 20), (15, 40)])
@pytest.mark.parametrize("signal", [0.0, 2.0])
def test_logme_is_the_maximum_of_the_evidence(random: np.random.Generator, n: int, d: int, signal: float) -> None:
    """With more and fewer images than features, which tell the classes a little or not at all."""
    labels = np.arange(n) % 3
    features = random.normal(size=(n, d))
    features[:, :3] += signal * np.eye(3)[labels]
    assert logme(features, labels) == pytest.approx(evidence_by_optimiser(features, labels), abs=1e-4)


def test_logme_ranks_features_and_ignores_their_unit_and_rotation(random: np.random.Generator) -> None:
    labels = np.arange(90) % 3
    noise = random.normal(size=(90, 6))
    scores = [logme(noise + signal * np.eye(3, 6)[labels], labels) for signal in (0, 1, 3, 10)]
    assert scores == sorted(scores)
    features = noise + np.eye(3, 6)[labels]
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    assert logme(50 * features @ rotation, labels) == pytest.approx(scores[1], abs=1e-6)
    assert logme(features, 10 - labels) == pytest.approx(scores[1])


def test_logme_of_features_that_say_nothing(random: np.random.Generator) -> None:
    """Orthogonal to the labels they leave y ~ N(0, b I), at best with b = mean y^2 = 1/2."""
    labels = np.arange(40) % 2
    features = np.repeat(random.normal(size=(20, 3)), 2, axis=0) * np.array([1, -1] * 20)[:, None]
    features -= np.stack([features[labels == k].mean(0) for k in range(2)])[labels]
    expected = -0.5 * (math.log(2 * math.pi * 0.5) + 1)
    assert logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_logme_of_features_that_are_the_labels_is_finite() -> None:
    labels = np.arange(12) % 3
    assert 5 < logme(np.eye(3)[labels], labels) < 20


def test_logme_needs_features() -> None:
    with pytest.raises(UserError, match="all features are zero"):
        logme(np.zeros((4, 2)), np.array([0, 1, 0, 1]))
