"""How far apart two domains are, and how well a source model suits a target, as numbers on feature arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlcl.adaptation.losses import mk_mmd
from tlcl.data.content_order import content_order
from tlcl.errors import UserError
from tlcl.seeding import derive_seed

HALVINGS = 5  # one alone moves the figure by a tenth or two

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def proxy_a_distance(source: Floats, target: Floats, seed: int) -> float:
    """2 (1 - 2 e), e the error of a linear classifier that tells the domains apart.

    After Ben-David et al. 2007, "Analysis of representations for domain adaptation". The classifier is a logistic
    regression on standardised features; e is measured on the half it did not learn from, for both halves of
    `HALVINGS` splits, and is the mean of the two domains' errors, so that neither the features' units nor the
    domains' sizes count, nor the order of the rows.

    Args:
        source: features (n, d), n >= 2.
        target: features (m, d), m >= 2.
        seed: of the splits into halves.

    Returns:
        0 (cannot be told apart; a classifier below chance counts as chance) to 2 (linearly separable).

    Raises:
        UserError: a domain with fewer than two rows.
    """
    if min(len(source), len(target)) < 2:
        raise UserError("the proxy A-distance splits each domain into halves; give at least 2 images of each")
    domains = np.repeat([0, 1], [len(source), len(target)])
    ordered = [side[content_order(torch.from_numpy(side), seed, "halves")] for side in (source, target)]
    rows = np.concatenate(ordered)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    errors = []
    for number in range(HALVINGS):
        halves = StratifiedKFold(2, shuffle=True, random_state=derive_seed(seed, "halves", task=number) % 2**32)
        answers = cross_val_predict(classifier, rows, domains, cv=halves)
        errors.append(1 - balanced_accuracy_score(domains, answers))
    return float(max(0.0, 2 * (1 - 2 * np.mean(errors))))


def mmd_distance(source: Floats, target: Floats) -> float:
    """Square root of the unbiased squared MMD of `mk_mmd`, 0 where that is negative; 0 to sqrt(2).

    Args:
        source: features (n, d), n >= 2.
        target: features (m, d), m >= 2; memory grows with (n + m)^2.

    Raises:
        UserError: a domain with fewer than two rows.
    """
    squared = float(mk_mmd(torch.from_numpy(source), torch.from_numpy(target)))
    return max(0.0, squared) ** 0.5


def leep(probabilities: Floats, labels: Labels) -> float:
    """Log expected empirical prediction (Nguyen et al. 2020, "LEEP"): what a source's classes say of the target's.

    The source model gives image i the probabilities p_i(z) of its own classes z. With the joint distribution
    P(y, z) = (1/n) sum_{i: y_i = y} p_i(z) and P(y | z) = P(y, z) / P(z),
    LEEP = (1/n) sum_i log sum_z P(y_i | z) p_i(z).

    Args:
        probabilities: (n, number of source classes), rows sum to 1.
        labels: the target's classes (n,).

    Returns:
        Mean log-likelihood in nats: from minus the labels' entropy (source classes say nothing of them) to 0 (each
        source class, given with certainty, means one label).
    """
    p = probabilities.astype(np.float64)
    _, y = np.unique(labels, return_inverse=True)
    joint = np.eye(y.max() + 1)[y].T @ p
    seen = joint.sum(0) > 0  # a source class without any probability is in no image's sum
    conditional = joint[:, seen] / joint[:, seen].sum(0)
    return float(np.log((conditional[y] * p[:, seen]).sum(1)).mean())


def logme(features: Floats, labels: Labels) -> float:
    """Log of the maximum evidence per image (You et al. 2021, "LogME"): how well features suit a linear head.

    For each class, y = 1 for its images and 0 for others is modelled as y = F w + noise with w ~ N(0, a I) and
    noise ~ N(0, b I), hence y ~ N(0, b I + a F F^T). log p(y) / n is maximised over a and b (the paper's 1/alpha
    and 1/beta) by its fixed-point iteration from a = b = 1, and averaged over the classes.

    b is kept at 1e-10 or more: features that fit the labels exactly would have infinite evidence.

    Args:
        features: F (n, d), not all zero; n may be below or above d. No column of ones is added.
        labels: classes (n,).

    Returns:
        Nats per image; larger is better, and positive for good features as it is the log of a density.

    Raises:
        UserError: features that are all zero.
    """
    if not features.any():
        raise UserError("all features are zero; LogME needs the features of a working network")
    n = len(features)
    y = np.eye(len(np.unique(labels)))[np.unique(labels, return_inverse=True)[1]]
    u, s, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    # Along the singular directions F F^T is diagonal; across them (n - r of the n) there is noise alone.
    power, signal = s[:, None] ** 2, (u.T @ y) ** 2
    rest = np.square(y - u @ (u.T @ y)).sum(0)
    across = n - len(s)

    def evidence(a: Floats, b: Floats) -> Floats:
        variance = b + a * power
        fit = np.log(variance).sum(0) + across * np.log(b) + (signal / variance).sum(0) + rest / b
        return -0.5 * (np.log(2 * np.pi) + fit / n)

    a = b = np.ones(y.shape[1])
    best = evidence(a, b)
    for _ in range(1000):
        variance = b + a * power
        # a = ||m||^2 / gamma and b = ||F m - y||^2 / (n - gamma) for the posterior mean m, without cancellation.
        a, b = (
            a * (power * signal / variance**2).sum(0) / (power / variance).sum(0),
            (b**2 * (signal / variance**2).sum(0) + rest) / (b * (1 / variance).sum(0) + across),
        )
        b = np.maximum(b, 1e-10)
        previous, best = best, evidence(a, b)
        if np.abs(best - previous).max() < 1e-10:
            break
    return float(best.mean())
