"""The head fitted to convergence on the frozen network's features, its regularisation by cross-validation.

The first half of LP-FT (Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
out-of-distribution", section 4): a linear probe, from which the deeper blocks then train.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from tlcl.data.splits import stratified_order
from tlcl.finetuning.class_weights import balanced_weights
from tlcl.seeding import derive_seed

FOLDS = 5
PENALTIES = tuple(float(value) for value in np.logspace(1.5, -4, 12))  # on the mean loss, the strongest first
RISES = 2  # penalties in a row with a higher loss, after which weaker ones are not tried
MOST = 10_000  # images that cross-validation takes at most: it chooses one number, and the fit takes all
RARE = 0.05  # of the median deviation of a feature, which no feature's is taken to be below
ABSENT = 10.0  # the bias of a class of which there is no image is so far below all others


@dataclass(frozen=True)
class FittedHead:
    """A last layer: logits = weight @ features + bias.

    Attributes:
        weight, bias: float32 (K, D) and (K,).
        penalty: half the squared norm of the weights, on standardised features, counts this much beside the mean
            cross-entropy.
    """

    weight: Tensor
    bias: Tensor
    penalty: float

    def put_into(self, layer: nn.Linear) -> None:
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            layer.bias.copy_(self.bias)

    def logits(self, features: Tensor) -> Tensor:
        """float (n, D) -> float32 (n, K)."""
        return features.float() @ self.weight.T + self.bias


@dataclass(frozen=True)
class ChosenPenalty:
    """What cross-validation made of the penalties that it tried.

    Attributes:
        penalty: the strongest whose mean loss is within one standard error of the lowest.
        losses: mean cross-entropy of held-out images by penalty, in the order of `tried`, with the classes' weights
            where the head is fitted with some; empty without folds.
        accuracy, loss: of held-out images at `penalty`; NaN without folds.
        folds: how many; 0 where no class has two images.
        images: how many took part.
        which: int64 (images,), those that took part, among those given.
        held_out: float32 (images, K), logits at `penalty` of each, by the head that was fitted without its fold;
            empty without folds.
    """

    penalty: float
    tried: tuple[float, ...]
    losses: tuple[float, ...]
    accuracy: float
    loss: float
    folds: int
    images: int
    which: Tensor
    held_out: Tensor


class _Regression:
    """One multinomial logistic regression on standardised features, refitted for penalty after penalty."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, class_weight: str | None) -> None:
        self.mean, scale = features.mean(0), features.std(0)
        varied = scale[scale > 1e-6 * max(float(scale.max()), 1e-30)]
        # A unit that fires for hardly any of these images would put a held-out one, for which it does, thousands of
        # deviations off; one such image outweighs all others in the loss by which the penalty is chosen.
        self.scale = np.maximum(scale, RARE * float(np.median(varied)) if len(varied) else 1.0)
        self.inputs, self.labels, self.classes = (features - self.mean) / self.scale, labels, classes
        self.model = LogisticRegression(warm_start=True, max_iter=1000, tol=1e-4, class_weight=class_weight)

    def fit(self, penalty: float) -> FittedHead:
        present = np.unique(self.labels)
        width = self.inputs.shape[1]
        weight, bias = np.zeros((self.classes, width), np.float32), np.full(self.classes, -ABSENT, np.float32)
        if len(present) == 1:
            bias[present] = 0.0
        else:
            self.model.set_params(C=1 / (penalty * len(self.labels)))
            with warnings.catch_warnings():
                # A weak penalty on images that a plane separates needs many steps for nothing.
                warnings.simplefilter("ignore", ConvergenceWarning)
                # Products this small take up to 70 times as long where several threads share them.
                with threadpool_limits(1, user_api="blas"):
                    self.model.fit(self.inputs, self.labels)
            typical = np.concatenate([-self.model.intercept_, self.model.intercept_])  # as logits of a mean image
            bias[:] = typical.min() - ABSENT
            rows: Any = self.model.coef_ / self.scale
            shifts = self.model.intercept_ - rows @ self.mean
            if len(present) == 2:  # given as one row, the second class's logit less the first's
                rows, shifts = np.concatenate([-rows, rows]) / 2, np.concatenate([-shifts, shifts]) / 2
            weight[present], bias[present] = rows, shifts
        return FittedHead(torch.from_numpy(weight), torch.from_numpy(bias), penalty)


def fit_head(
    features: Tensor, labels: Tensor, classes: int, penalty: float, class_weight: str | None = None
) -> FittedHead:
    """Multinomial logistic regression by L-BFGS, run to convergence; the penalty is on standardised features.

    Args:
        features: float (N, D).
        labels: int64 (N,), 0..classes-1; a class without images gets a probability of about zero.
        class_weight: scikit-learn's: `balanced`, see `balanced_weights`, or None.
    """
    return _Regression(_array(features), labels.numpy(), classes, class_weight).fit(penalty)


def choose_penalty(
    features: Tensor,
    held_out: Tensor,
    labels: Tensor,
    classes: int,
    seed: int,
    step: Callable[[], object] = lambda: None,
    class_weight: str | None = None,
) -> ChosenPenalty:
    """A penalty by the loss of held-out images: stratified cross-validation in up to 5 folds.

    Of all penalties that do as well as the best one, within its standard error, the strongest (Breiman et al. 1984,
    "Classification and regression trees", section 3.4.3: the one-standard-error rule), as the lowest of several
    noisy losses is often that of too weak a penalty. They are tried from the strongest on, each from the last one's
    solution, until the loss has risen twice.

    Args:
        features: float (N, D), of the images as they are fitted.
        held_out: float (N, D), of the same images as they are asked about.
        labels: int64 (N,).
        step: called after each fit.
        class_weight: as for `fit_head`; the losses have the same weights.
    """
    which = _at_most(labels, MOST, seed)
    inputs, asked, targets = _array(features[which]), held_out[which].float(), labels[which].numpy()
    _, counts = np.unique(targets, return_counts=True)
    folds = int(min(FOLDS, max(2, counts.min()), counts.max()))
    if folds < 2:
        none = torch.empty(0, classes)
        return ChosenPenalty(1.0, (), (), float("nan"), float("nan"), 0, len(targets), which, none)
    weights = torch.ones(classes) if class_weight is None else balanced_weights(labels[which], classes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds") % 2**32)
        parts = list(splitter.split(inputs, targets))
    models = [_Regression(inputs[train], targets[train], classes, class_weight) for train, _ in parts]
    losses, accuracies, errors, logits = [], [], [], []
    for penalty in PENALTIES:
        mine, said, right = torch.empty(len(targets)), torch.empty(len(targets), classes), 0
        for model, (_, held) in zip(models, parts, strict=True):
            said[held] = fresh = model.fit(penalty).logits(asked[held])
            answers = torch.from_numpy(targets[held])
            mine[held] = weights[answers] * nn.functional.cross_entropy(fresh, answers, reduction="none")
            right += int((fresh.argmax(1) == answers).sum())
            step()
        logits.append(said)
        losses.append(float(mine.double().mean()))
        accuracies.append(right / len(targets))
        errors.append(float(mine.double().std()) / math.sqrt(len(targets)))
        best = min(range(len(losses)), key=losses.__getitem__)
        if len(losses) - 1 - best >= RISES:
            break
    chosen = next(place for place, loss in enumerate(losses) if loss <= losses[best] + errors[best])
    tried = PENALTIES[: len(losses)]
    return ChosenPenalty(
        tried[chosen], tried, tuple(losses), accuracies[chosen], losses[chosen], folds, len(targets), which,
        logits[chosen],
    )  # fmt: skip


def _at_most(labels: Tensor, most: int, seed: int) -> Tensor:
    """All indices, or `most` of them with the classes in proportion."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    return stratified_order(labels, seed, "folds")[:most].sort().values


def _array(features: Tensor) -> np.ndarray:
    array: np.ndarray = features.detach().float().cpu().numpy()
    return array
