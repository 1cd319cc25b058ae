"""Losses of domain adaptation against loops, closed forms and the properties they are used for."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tlcl.adaptation.losses import (
    KERNEL_SCALES,
    ccsa,
    class_confusion,
    coral,
    dann_strength,
    domain_adversarial,
    entropy_weights,
    mean_distance,
    mk_mmd,
    multilinear_map,
    nuclear_norm,
    prediction_entropy,
    reverse_gradient,
)
from tlcl.adaptation.methods.dsn import difference, scale_invariant_mse
from tlcl.errors import UserError
from tlcl.seeding import generator


def normal(*shape: int, name: str = "x") -> Tensor:
    return torch.randn(*shape, generator=generator(0, name))


def gradient_of(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


def mmd_by_loops(source: Tensor, target: Tensor) -> Tensor:
    """In float64, over pairs of distinct images, with a bandwidth that is a plain number."""
    source, target = source.double(), target.double()
    pooled = [*source.detach(), *target.detach()]
    distances = [float((x - y).square().sum()) for i, x in enumerate(pooled) for y in pooled[:i]]
    bandwidth = sum(distances) / len(distances)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([(-(x - y).square().sum() / (c * bandwidth)).exp() for c in KERNEL_SCALES]).mean()

    def within(sample: Tensor) -> Tensor:
        return torch.stack([kernel(x, y) for i, x in enumerate(sample) for y in sample[:i]]).mean()

    between = torch.stack([kernel(x, y) for x in source for y in target]).mean()
    return within(source) + within(target) - 2 * between


def test_mmd_and_its_gradient_against_loops() -> None:
    source, target = normal(7, 3), normal(5, 3, name="y") * 1.5 + 1
    torch.testing.assert_close(mk_mmd(source, target), mmd_by_loops(source, target).float())
    for ours, theirs in (
        (gradient_of(lambda x: mk_mmd(x, target), source), gradient_of(lambda x: mmd_by_loops(x, target), source)),
        (gradient_of(lambda x: mk_mmd(source, x), target), gradient_of(lambda x: mmd_by_loops(source, x), target)),
    ):
        assert float(theirs.norm()) > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_mmd_of_equal_distributions_is_zero_in_the_mean() -> None:
    """Within three standard errors; the biased estimate would be about 0.1 too high. Unequal sizes, skewed data."""
    draws = torch.stack([mk_mmd(x[:6], x[6:]) for x in normal(600, 15, 4).exp()])
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean())) < 3 * error
    assert error < 0.01
    assert float(draws.min()) < 0


def test_mmd_grows_with_a_shift_and_not_with_the_unit() -> None:
    source, target = normal(40, 8), normal(30, 8, name="y")
    values = [float(mk_mmd(source, target + shift)) for shift in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values)
    assert values[-1] > 0.5
    torch.testing.assert_close(mk_mmd(100 * source, 100 * (target + 1)), mk_mmd(source, target + 1))


def test_mmd_sees_a_spread_that_the_means_do_not() -> None:
    assert float(mk_mmd(normal(60, 8), 3 * normal(60, 8, name="y"))) > 0.1


def test_mmd_far_from_the_origin() -> None:
    source, target = normal(20, 64), normal(20, 64, name="y") + 0.5
    expected = mk_mmd(source, target)
    torch.testing.assert_close(mk_mmd(source + 3000, target + 3000), expected, rtol=0, atol=1e-4)


def test_mmd_of_one_repeated_image() -> None:
    """A collapsed network: no discrepancy, and a gradient that is finite."""
    same = torch.ones(4, 3)
    assert float(mk_mmd(same, same)) == 0
    assert bool(gradient_of(lambda x: mk_mmd(x, same), same).isfinite().all())


def test_coral_against_numpy() -> None:
    source, target = normal(9, 4), 2 * normal(7, 4, name="y")
    gap = np.cov(source.numpy(), rowvar=False) - np.cov(target.numpy(), rowvar=False)
    expected = np.linalg.norm(gap, "fro") ** 2 / (4 * 4**2)
    assert float(coral(source, target)) == pytest.approx(expected, rel=1e-5)


def test_coral_is_blind_to_means() -> None:
    source = normal(9, 4)
    assert float(coral(source, source + torch.tensor([5.0, -3, 0, 1]))) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("loss", [mk_mmd, coral])
def test_one_image_has_no_spread(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match="at least 2"):
        loss(normal(1, 3), normal(4, 3))
    with pytest.raises(UserError, match="at least 2"):
        loss(normal(4, 3), normal(1, 3))


@pytest.mark.parametrize("loss", [mk_mmd, coral, difference])
def test_losses_keep_float32_under_autocast(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    source, target = normal(20, 16) + 1, 1.3 * normal(20, 16, name="y") + 1
    with torch.autocast("cpu", torch.bfloat16):
        assert (source @ target.T).dtype == torch.bfloat16
        inside = loss(source, target)
        halves = loss(source.bfloat16(), target.bfloat16())
    assert torch.equal(inside, loss(source, target))
    assert torch.equal(halves, loss(source.bfloat16().float(), target.bfloat16().float()))


def test_reversed_gradient() -> None:
    x = normal(3, 2)
    weights = normal(3, 2, name="w")
    assert torch.equal(reverse_gradient(x, 0.7), x)
    assert torch.equal(gradient_of(lambda x: (weights * reverse_gradient(x, 0.7)).sum(), x), -0.7 * weights)


def test_strength_of_the_reversal() -> None:
    assert dann_strength(0) == 0
    assert dann_strength(1) == pytest.approx(0.9999, abs=1e-5)
    assert dann_strength(0.1) == pytest.approx(math.tanh(0.5))  # (1 - e^-1) / (1 + e^-1)


def test_domain_adversarial_against_probabilities() -> None:
    source, target = normal(3), normal(30, name="y")
    expected = -((1 - source.sigmoid()).log().mean() + target.sigmoid().log().mean()) / 2
    torch.testing.assert_close(domain_adversarial(source, target), expected)
    assert float(domain_adversarial(torch.zeros(2), torch.zeros(7))) == pytest.approx(math.log(2))


def test_domains_weigh_the_same_whatever_their_batches() -> None:
    source, target = normal(3), normal(30, name="y")
    once = domain_adversarial(source, target)
    torch.testing.assert_close(domain_adversarial(source.repeat(9), target), once)
    torch.testing.assert_close(domain_adversarial(source, target.repeat(2)), once)


def test_weights_of_the_adversarial_loss_repeat_images() -> None:
    source, target = normal(2), normal(3, name="y")
    weighted = domain_adversarial(source, target, torch.tensor([2.0, 4]), torch.tensor([0.5, 1, 0.5]))
    torch.testing.assert_close(weighted, domain_adversarial(source[[0, 1, 1]], target[[0, 1, 1, 2]]))


def test_multilinear_map_is_an_outer_product() -> None:
    features, probabilities = normal(4, 3), normal(4, 5, name="p").softmax(1)
    expected = [torch.outer(f, p).flatten() for f, p in zip(features, probabilities, strict=True)]
    assert torch.equal(multilinear_map(features, probabilities), torch.stack(expected))


def test_entropy() -> None:
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    expected = [math.log(4), math.log(2), 0, -0.7 * math.log(0.7) - 0.3 * math.log(0.1)]
    torch.testing.assert_close(prediction_entropy(rows), torch.tensor(expected))
    torch.testing.assert_close(entropy_weights(rows), torch.tensor([1 + math.exp(-value) for value in expected]))


def test_entropy_of_certain_logits_has_a_finite_gradient() -> None:
    logits = torch.tensor([[0.0, 300.0, -50.0], [1.0, 2.0, 0.0]])
    assert float(logits.softmax(1)[0, 0]) == 0
    gradient = gradient_of(lambda x: prediction_entropy(x.softmax(1)).sum(), logits)
    torch.testing.assert_close(gradient[0], torch.zeros(3))
    # Minimising makes the likeliest class likelier.
    assert float(gradient[1, 1]) < 0


def test_ccsa_against_loops() -> None:
    source, target = normal(6, 3), normal(5, 3, name="y")
    source_labels, target_labels = [0, 1, 2, 0, 1, 0], [0, 0, 1, 3, 1]
    pull, push = [], []
    for s, a in zip(source.numpy(), source_labels, strict=True):
        for t, b in zip(target.numpy(), target_labels, strict=True):
            distance = float(np.linalg.norm(s - t))
            if a == b:
                pull.append(distance**2 / 2)
            else:
                push.append(max(0, 2 - distance) ** 2 / 2)
    assert 0 < sum(value > 0 for value in push) < len(push)
    loss = ccsa(source, torch.tensor(source_labels), target, torch.tensor(target_labels), margin=2)
    assert float(loss) == pytest.approx(np.mean(pull) + np.mean(push), rel=1e-5)


def ccsa_gradient(source: Tensor, target: Tensor, same: bool) -> Tensor:
    """Of one pair with margin 1, with respect to the source image."""
    label = torch.zeros(1, dtype=torch.long)
    return gradient_of(lambda x: ccsa(x[None], label, target[None], label + (not same), margin=1), source)


def test_ccsa_pulls_equal_classes_and_pushes_different_ones() -> None:
    """d/ds ||s - t||^2 / 2 = s - t, and d/ds (1 - ||s - t||)^2 / 2 = -(1 - ||s - t||) (s - t) / ||s - t||."""
    near, far, target = torch.tensor([0.3, 0.4]), torch.tensor([3.0, 4.0]), torch.zeros(2)
    torch.testing.assert_close(ccsa_gradient(far, target, same=True), far)
    torch.testing.assert_close(ccsa_gradient(near, target, same=False), -0.5 * near / 0.5)
    assert torch.equal(ccsa_gradient(far, target, same=False), torch.zeros(2))


def test_ccsa_of_coinciding_points_has_a_finite_gradient() -> None:
    point = normal(30)
    for same in (True, False):
        assert torch.equal(ccsa_gradient(point, point, same), torch.zeros(30))


def test_ccsa_far_from_the_origin() -> None:
    source, labels = normal(30, 8), torch.arange(30) % 3
    target = source + 0.5
    moved = ccsa(source + 1000, labels, target + 1000, labels, margin=1)
    torch.testing.assert_close(moved, ccsa(source, labels, target, labels, margin=1), rtol=1e-4, atol=0)


def test_ccsa_without_pairs_of_a_kind() -> None:
    """Only the other kind counts; without pairs at all zero, and there is something to call backward on."""
    source, target, zeros = normal(3, 2), normal(2, 2, name="y"), torch.zeros(3, dtype=torch.long)
    expected = torch.cdist(source, target).square().mean() / 2
    torch.testing.assert_close(ccsa(source, zeros, target, zeros[:2], margin=1), expected)
    assert float(ccsa(source, zeros, target + 9, zeros[:2] + 1, margin=1)) == 0
    gradient = gradient_of(lambda x: ccsa(x, zeros, target[:0], zeros[:0], margin=1), source)
    assert torch.equal(gradient, torch.zeros(3, 2))


def test_difference_against_numpy() -> None:
    private, shared = normal(6, 3) + 2, normal(6, 4, name="y") - 1
    rows = []
    for x in (private.numpy(), shared.numpy()):
        centred = x - x.mean(0)
        rows.append(centred / np.linalg.norm(centred, axis=1, keepdims=True))
    expected = np.linalg.norm(rows[0].T @ rows[1], "fro") ** 2 / 6**2
    assert float(difference(private, shared)) == pytest.approx(expected, rel=1e-5)


def test_difference_is_zero_for_uncorrelated_representations() -> None:
    """Columns of a Hadamard matrix: centred, orthogonal to each other, rows of equal length."""
    one = torch.tensor([[1.0, 1], [1, -1]])
    hadamard = torch.kron(one, torch.kron(one, one))
    private, shared = hadamard[:, 1:4], hadamard[:, 4:]
    assert float(difference(private + 5, shared - 3)) == pytest.approx(0, abs=1e-12)
    assert float(difference(private, private)) > 0.1


def test_difference_of_a_row_at_the_mean_has_a_finite_gradient() -> None:
    private = torch.tensor([[1.0, 0], [-1, 0], [0, 0]])
    gradient = gradient_of(lambda x: difference(x, normal(3, 2)), private)
    assert bool(gradient.isfinite().all())


def test_scale_invariant_error_against_its_formula() -> None:
    images, reconstructions = normal(3, 2, 4, 5), normal(3, 2, 4, 5, name="y")
    errors = (images - reconstructions).reshape(3, -1).double().numpy()
    k = errors.shape[1]
    expected = np.mean([d @ d / k - d.sum() ** 2 / k**2 for d in errors])
    assert float(scale_invariant_mse(images, reconstructions)) == pytest.approx(expected, rel=1e-5)


def test_scale_invariant_error_forgives_a_shift_of_each_image_only() -> None:
    images, reconstructions = normal(3, 1, 4, 4), normal(3, 1, 4, 4, name="y")
    error = scale_invariant_mse(images, reconstructions)
    shifts = torch.tensor([0.5, -1, 2]).reshape(3, 1, 1, 1)
    torch.testing.assert_close(scale_invariant_mse(images, reconstructions + shifts), error)
    assert float(scale_invariant_mse(images, images + shifts)) == pytest.approx(0, abs=1e-10)
    assert float(scale_invariant_mse(images, 2 * images)) > 0.1


def confusion_by_loops(logits: np.ndarray, temperature: float, epsilon: float) -> float:
    """Image by image and class by class, in the order of Transfer-Learning-Library's tllib/self_training/mcc.py:
    the columns of the confusion matrix are divided by the sums of its rows, and log p is log(p + epsilon)."""
    images, classes = logits.shape
    scaled = np.exp(logits / temperature)
    predicted = scaled / scaled.sum(1, keepdims=True)
    weights = np.array([1 + math.exp(sum(p * math.log(p + epsilon) for p in row)) for row in predicted])
    weights = images * weights / weights.sum()
    confusion = np.zeros((classes, classes))
    for row, weight in zip(predicted, weights, strict=True):
        for i in range(classes):
            for j in range(classes):
                confusion[i, j] += weight * row[i] * row[j]
    sums = confusion.sum(1)
    off = [confusion[i, j] / sums[j] for i in range(classes) for j in range(classes) if i != j]
    return float(sum(off) / classes)


@pytest.mark.parametrize(("images", "classes", "temperature"), [(7, 3, 2.5), (36, 31, 2.0), (2, 10, 1.0)])
def test_class_confusion_is_the_librarys(images: int, classes: int, temperature: float) -> None:
    logits = 4 * normal(images, classes)
    by_hand = logits.double().numpy()
    loss = float(class_confusion(logits, temperature))
    assert loss == pytest.approx(confusion_by_loops(by_hand, temperature, 0.0), rel=1e-5)
    assert loss == pytest.approx(confusion_by_loops(by_hand, temperature, 1e-5), rel=1e-3)  # as it stands there


def test_class_confusion_passes_no_gradient_through_its_weights() -> None:
    logits, temperature = normal(6, 4), 2.5
    with torch.no_grad():
        weights = entropy_weights((logits / temperature).softmax(1))

    def by_hand(x: Tensor) -> Tensor:
        predicted = (x / temperature).softmax(1)
        confusion = predicted.T @ (weights[:, None] * predicted)
        return 1 - (confusion.diagonal() / confusion.sum(0)).mean()

    ours = gradient_of(lambda x: class_confusion(x, temperature), logits)
    torch.testing.assert_close(ours, gradient_of(by_hand, logits), rtol=1e-4, atol=1e-7)


def test_class_confusion_from_certain_to_uniform() -> None:
    certain, uniform = 200 * torch.eye(5), torch.zeros(8, 5)
    assert float(class_confusion(certain, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(class_confusion(uniform, 1.0)) == pytest.approx(1 - 1 / 5)
    one_class = 200 * torch.eye(5)[[0, 0, 0]]  # four classes that nothing may be
    assert gradient_of(lambda x: class_confusion(x, 1.0), one_class).isfinite().all()


def test_nuclear_norm_and_its_gradient_against_numpy() -> None:
    logits = normal(9, 4)
    predicted = np.exp(logits.double().numpy())
    predicted /= predicted.sum(1, keepdims=True)
    assert float(nuclear_norm(logits)) == pytest.approx(np.linalg.norm(predicted, "nuc") / 4, rel=1e-5)
    left, _, right = np.linalg.svd(predicted, full_matrices=False)  # of the norm by the matrix: U V^T
    inner = torch.from_numpy(left @ right / 4)

    def linear(x: Tensor) -> Tensor:
        return (x.double().softmax(1) * inner).sum()

    torch.testing.assert_close(
        gradient_of(nuclear_norm, logits), gradient_of(linear, logits), rtol=1e-4, atol=1e-6
    )


def test_nuclear_norm_wants_certain_answers_of_many_classes() -> None:
    """At most sqrt(B / K): all certain, each class as often. Less where all say the same, or nothing is certain."""
    many = 100 * torch.eye(4).repeat(3, 1)
    assert float(nuclear_norm(many)) == pytest.approx(math.sqrt(12 / 4), rel=1e-4)
    assert float(nuclear_norm(many[:1].repeat(12, 1))) == pytest.approx(math.sqrt(12) / 4, rel=1e-4)
    assert float(nuclear_norm(torch.zeros(12, 4))) == pytest.approx(math.sqrt(12 / 4) / 4, rel=1e-4)


def test_the_mean_distance_is_of_pairs_of_different_classes() -> None:
    source, target = normal(4, 3), normal(3, 3, name="y")
    ours, theirs = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2])
    pairs = [(i, j) for i in range(4) for j in range(3) if ours[i] != theirs[j]]
    by_hand = np.mean([float((source[i] - target[j]).norm()) for i, j in pairs])
    assert float(mean_distance(source, ours, target, theirs)) == pytest.approx(by_hand, rel=1e-5)
    alike = torch.zeros(3, dtype=torch.long)
    every = float(torch.cdist(source[:3], target).mean())
    assert float(mean_distance(source[:3], alike, target, alike)) == pytest.approx(every, rel=1e-5)


def test_a_training_that_diverges_has_a_loss_that_is_not_finite() -> None:
    logits = torch.full((4, 3), torch.nan)
    assert not nuclear_norm(logits).isfinite()
    assert not class_confusion(logits, 2.5).isfinite()
