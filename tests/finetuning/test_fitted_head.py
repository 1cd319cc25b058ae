"""The fitted head against its own optimality condition, and its penalty against scikit-learn's cross-validation."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from tlcl.finetuning.fitted_head import MOST, PENALTIES, choose_penalty, fit_head
from tlcl.seeding import derive_seed


def clouds(images: int = 240, classes: int = 3, width: int = 12, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    """Features around a centre for each class, of unequal scales and far from zero; labels in no order."""
    random = torch.Generator().manual_seed(3)
    labels = torch.arange(images) % classes
    labels = labels[torch.randperm(images, generator=random)]
    centres = torch.randn(classes, width, generator=random)
    features = centres[labels] + spread * torch.randn(images, width, generator=random)
    return features * torch.logspace(-1, 1, width) + 5, labels


def objective(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, penalty: float) -> Tensor:
    """Mean cross-entropy on standardised features and half the penalised squared norm, as it is documented."""
    standard = (features - features.mean(0)) / features.std(0, unbiased=False)
    loss = nn.functional.cross_entropy(standard @ weight.T + bias, labels)
    return loss + 0.5 * penalty * (weight**2).sum()


@pytest.mark.parametrize("penalty", [1.0, 0.03])
def test_the_head_is_where_the_gradient_vanishes(penalty: float) -> None:
    features, labels = clouds()
    head = fit_head(features, labels, 3, penalty)
    wide, scale = features.double(), features.double().std(0, unbiased=False)
    # From raw features back to standardised ones.
    weight = (head.weight.double() * scale).requires_grad_()
    bias = (head.bias.double() + head.weight.double() @ wide.mean(0)).requires_grad_()
    value = objective(weight, bias, wide, labels, penalty)
    gradients = torch.autograd.grad(value, (weight, bias))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-3
    for step in (0.05, -0.05):  # and it is a minimum
        assert objective(weight + step, bias, wide, labels, penalty) > value
        assert objective(weight * (1 + step), bias, wide, labels, penalty) > value


def test_two_classes_are_a_logistic_regression() -> None:
    features, labels = clouds(classes=2)
    head = fit_head(features, labels, 2, 0.1)
    regression = LogisticRegression(C=1 / (0.1 * len(labels)), tol=1e-8, max_iter=9999)
    reference = make_pipeline(StandardScaler(), regression)
    expected = reference.fit(features.double().numpy(), labels).predict_proba(features.double().numpy())
    assert np.allclose(head.logits(features).softmax(1).numpy(), expected, atol=2e-3)


def test_what_is_put_into_a_layer_answers_as_the_head_does() -> None:
    features, labels = clouds()
    head, layer = fit_head(features, labels, 3, 0.1), nn.Linear(12, 3)
    head.put_into(layer)
    assert torch.allclose(layer(features), head.logits(features), atol=1e-4)


def test_a_class_without_images_is_never_answered() -> None:
    features, labels = clouds()
    head = fit_head(features, labels + (labels > 0), 4, 0.1)  # nothing is of class 1
    probabilities = head.logits(features).softmax(1)
    assert float(probabilities[:, 1].max()) < 1e-3
    others = fit_head(features, labels, 3, 0.1).logits(features).argmax(1)
    assert torch.equal(head.logits(features).argmax(1), torch.tensor([0, 2, 3])[others])
    alone = fit_head(features[labels == 0], labels[labels == 0], 3, 0.1)
    assert torch.equal(alone.logits(features).argmax(1), torch.zeros(len(features), dtype=torch.int64))


def test_a_feature_that_never_changes_says_nothing() -> None:
    features, labels = clouds()
    features[:, 4] = 7.25
    head = fit_head(features, labels, 3, 0.1)
    assert head.weight.isfinite().all()
    assert head.weight[:, 4].abs().max() < 1e-6


def test_losses_and_accuracy_are_those_of_scikit_learns_cross_validation() -> None:
    features, labels = clouds()
    chosen = choose_penalty(features, features, labels, 3, seed=5)
    folds = StratifiedKFold(5, shuffle=True, random_state=derive_seed(5, "folds") % 2**32)
    losses, errors, accuracies, said = [], [], [], []
    for penalty in chosen.tried:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / (penalty * 0.8 * len(labels)), tol=1e-7, max_iter=9999)
        )
        answered = cross_val_predict(model, features.double().numpy(), labels, cv=folds, method="predict_proba")
        each = -np.log(answered[np.arange(len(labels)), labels])
        losses.append(each.mean())
        errors.append(each.std(ddof=1) / math.sqrt(len(each)))
        accuracies.append((answered.argmax(1) == labels.numpy()).mean())
        said.append(answered)
    assert np.allclose(chosen.losses, losses, atol=2e-3)
    best = int(np.argmin(losses))
    # The strongest within one standard error of the best.
    expected = next(place for place, loss in enumerate(losses) if loss <= losses[best] + errors[best])
    assert expected < best
    assert chosen.penalty == chosen.tried[expected]
    assert chosen.accuracy == pytest.approx(accuracies[expected], abs=1e-9)
    assert chosen.loss == pytest.approx(losses[expected], abs=2e-3)
    assert (chosen.folds, chosen.images) == (5, len(labels))
    assert torch.equal(chosen.which, torch.arange(len(labels)))
    assert np.allclose(chosen.held_out.softmax(1).numpy(), said[expected], atol=5e-3)
    # It stopped after two rises, or at the end.
    assert len(chosen.tried) in (best + 3, len(PENALTIES))


def uneven(few: int = 24) -> tuple[Tensor, Tensor]:
    """The clouds with only so many images of class 2."""
    features, labels = clouds()
    dropped = (labels == 2).nonzero().squeeze(1)[few:]
    kept = ~torch.isin(torch.arange(len(labels)), dropped)
    return features[kept], labels[kept]


def test_balanced_weights_are_scikit_learns() -> None:
    features, labels = uneven()
    scale = StandardScaler().fit(features.double().numpy())
    regression = LogisticRegression(C=1 / (0.1 * len(labels)), tol=1e-9, max_iter=9999, class_weight="balanced")
    inputs = scale.transform(features.double().numpy())
    expected = regression.fit(inputs, labels).predict_proba(inputs)
    head = fit_head(features, labels, 3, 0.1, "balanced")
    assert np.allclose(head.logits(features).softmax(1).numpy(), expected, atol=2e-3)
    plain = fit_head(features, labels, 3, 0.1).logits(features).softmax(1)
    assert float((plain[:, 2] - torch.from_numpy(expected)[:, 2]).abs().max()) > 0.1


def test_balanced_cross_validation_is_scored_with_the_same_weights() -> None:
    """The loss of a held-out image counts as much as its class's weight, and the answers kept are those scored."""
    features, labels = uneven()
    chosen = choose_penalty(features, features, labels, 3, seed=5, class_weight="balanced")
    losses = nn.functional.cross_entropy(chosen.held_out, labels, reduction="none").double()
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert chosen.loss == pytest.approx(float((losses * torch.from_numpy(weights)[labels]).mean()), abs=1e-6)
    # Which is the mean over the classes of each one's mean loss.
    assert chosen.loss == pytest.approx(float(torch.stack([losses[labels == k].mean() for k in range(3)]).mean()))
    assert chosen.loss != pytest.approx(float(losses.mean()), abs=1e-3)
    assert chosen.accuracy == pytest.approx(float((chosen.held_out.argmax(1) == labels).double().mean()))


@pytest.mark.parametrize(("counts", "folds"), [((3, 40, 40), 3), ((1, 40, 40), 2), ((1, 1, 1), 0), ((2, 2, 2), 2)])
def test_folds_are_as_many_as_the_smallest_class_allows(counts: tuple[int, ...], folds: int) -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    features = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0)) + labels[:, None]
    chosen = choose_penalty(features, features, labels, 3, seed=0)
    assert chosen.folds == folds
    assert chosen.penalty > 0
    assert math.isnan(chosen.loss) == (folds == 0)
    assert chosen.held_out.shape == ((len(labels) if folds else 0), 3)


def test_held_out_images_are_asked_about_as_they_are() -> None:
    """Fitted on means over an image and its mirror image, say, and asked about the image."""
    features, labels = clouds()
    nonsense = torch.zeros_like(features)
    chosen = choose_penalty(features, nonsense, labels, 3, seed=0)
    assert chosen.accuracy < 0.6  # every image looks alike
    assert choose_penalty(features, features, labels, 3, seed=0).accuracy > 0.8


def test_no_more_images_take_part_than_a_choice_needs() -> None:
    features, labels = clouds(MOST + 50, classes=2, width=2)
    chosen = choose_penalty(features, features, labels, 2, seed=0)
    assert chosen.images == MOST
    # What is said of each is of the image that is named.
    own = nn.functional.cross_entropy(chosen.held_out, labels[chosen.which])
    assert float(own) == pytest.approx(chosen.loss, abs=1e-5)


def test_a_unit_that_hardly_ever_fires_decides_nothing() -> None:
    """One image is far off in a feature that is nearly constant for all others: the penalty is that without it."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    features = torch.randn(200, 30, generator=random) + 2 * torch.nn.functional.one_hot(labels, 30)
    rare = torch.full((200, 1), 1e-4) * torch.rand(200, 1, generator=random)
    rare[17] = 3.0
    plain = choose_penalty(features, features, labels, 4, seed=0)
    odd = torch.cat([features, rare], 1)
    found = choose_penalty(odd, odd, labels, 4, seed=0)
    assert found.penalty == plain.penalty
    assert abs(found.loss - plain.loss) < 0.02
    assert found.accuracy >= plain.accuracy - 0.01
