"""Losses that bring two domains together: a labelled source and a target with few labels or none.

All return float32 scalars with a gradient and compute in float32, also under bf16 autocast: a difference of two
nearly equal means or covariances would drown in bfloat16's rounding.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from tlcl.errors import UserError

KERNEL_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def mk_mmd(source: Tensor, target: Tensor) -> Tensor:
    """Squared maximum mean discrepancy with several Gaussian kernels, the unbiased U-statistic.

    mean_{i!=j} k(s_i, s_j) + mean_{i!=j} k(t_i, t_j) - 2 mean_{ij} k(s_i, t_j)
    (Gretton et al. 2012, "A kernel two-sample test", eq. 3), where k(x, y) is the mean over `KERNEL_SCALES` c of
    exp(-||x - y||^2 / (c b)) and b is the mean squared distance of two rows of both samples together. Several
    kernels as in Long et al. 2015 ("DAN"), all with the same weight.

    For equal distributions the expectation is exactly zero, although b comes from the data: b does not depend on
    which rows are the source's. b passes no gradient on.

    Args:
        source: (n, d), n >= 2.
        target: (m, d), m >= 2.

    Returns:
        Scalar, at most 2; slightly negative for similar samples.

    Raises:
        UserError: a sample with fewer than two rows.
    """
    n, m = _rows(source), _rows(target)
    pooled = torch.cat([source.float(), target.float()])
    # Distances do not depend on the origin, but far from it the Gram matrix would cancel to noise.
    pooled = pooled - pooled.mean(0).detach()
    with torch.autocast(pooled.device.type, enabled=False):
        products = pooled @ pooled.T
    norms = products.diagonal()
    squared = (norms[:, None] + norms - 2 * products).clamp_min(0)
    bandwidth = squared.detach().sum() / ((n + m) * (n + m - 1))
    bandwidth = bandwidth.clamp_min(1e-12)  # all rows equal: their kernel is 1 and the discrepancy 0
    kernel = torch.stack([(-squared / (scale * bandwidth)).exp() for scale in KERNEL_SCALES]).mean(0)
    # A row's kernel with itself is exactly 1: its squared distance is a + a - 2 a.
    within_source = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_target = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return within_source + within_target - 2 * kernel[:n, n:].mean()


def coral(source: Tensor, target: Tensor) -> Tensor:
    """||C_s - C_t||_F^2 / (4 d^2) of the covariances (Sun & Saenko 2016, "Deep CORAL"); blind to the means.

    Args:
        source: (n, d), n >= 2.
        target: (m, d), m >= 2.

    Returns:
        Scalar, 0 or more.

    Raises:
        UserError: a sample with fewer than two rows.
    """
    _rows(source), _rows(target)
    with torch.autocast(source.device.type, enabled=False):
        gap = torch.cov(source.float().T) - torch.cov(target.float().T)
    return gap.square().sum() / (4 * source.shape[1] ** 2)


def _rows(sample: Tensor) -> int:
    """Number of rows; without a pair of rows nothing is known of a domain's spread."""
    if len(sample) < 2:
        raise UserError(f"a batch with {len(sample)} image of a domain has no spread to compare; use at least 2")
    return len(sample)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None  # type: ignore[attr-defined]


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """`x` itself; on the way back its gradient is multiplied by -strength (Ganin et al. 2016, "DANN").

    What comes after learns to tell the domains apart, what comes before learns to prevent it.
    """
    reversed_: Tensor = _ReverseGradient.apply(x, strength)
    return reversed_


def dann_strength(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: the strength of the reversal at `progress` p of the training (Ganin et al. 2016).

    From 0 at p = 0, where the discriminator still answers at random, to 0.9999 at p = 1.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


def domain_adversarial(
    source_logits: Tensor,
    target_logits: Tensor,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of a domain discriminator; each domain weighs one half whatever its batch size.

    Args:
        source_logits, target_logits: (n,) and (m,), the discriminator's logit that the image is of the target.
        source_weights, target_weights: (n,) and (m,), positive; images weigh in their domain's mean as they say
            (see `entropy_weights`), or all the same.

    Returns:
        Scalar in nats, 0 or more; log 2 for a discriminator that answers at random.
    """

    def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
        return losses.mean() if weights is None else (weights * losses).sum() / weights.sum()

    softplus = torch.nn.functional.softplus
    source = mean(softplus(source_logits.float()), source_weights)
    target = mean(softplus(-target_logits.float()), target_weights)
    return (source + target) / 2


def multilinear_map(features: Tensor, probabilities: Tensor) -> Tensor:
    """Outer product of each image's features and class probabilities, what CDAN's discriminator sees.

    Long et al. 2018, "Conditional adversarial domain adaptation".

    Args:
        features: (n, d).
        probabilities: (n, k).

    Returns:
        (n, d * k); entry i * k + j is feature i times probability j.
    """
    return (features[:, :, None] * probabilities[:, None, :]).flatten(1)


def prediction_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of each row of probabilities (n, k) in nats: (n,), 0 (certain) to log k (uniform)."""
    probabilities = probabilities.float()
    # A softmax reaches 0, where p log p is 0 but log p, and with it the gradient, is not finite.
    logs = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
    return -(probabilities * logs).sum(1)


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Weights 1 + exp(-entropy) of CDAN+E (Long et al. 2018): certain predictions are easier to transfer.

    Args:
        probabilities: (n, k).

    Returns:
        (n,), 1 + 1/k (uniform) to 2 (certain); with a gradient, so detach what must only weigh.
    """
    return 1 + (-prediction_entropy(probabilities)).exp()


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """How often classes are taken for each other (MCC: Jin et al. 2020, "Minimum class confusion", section 3).

    With the predictions y = softmax(logits / temperature) of B images, weights w = B (1 + exp(-H)) / sum of these,
    where H is an image's entropy (`entropy_weights`; no gradient), and C = y^T diag(w) y, whose rows are divided by
    their sums: the mean over the K rows of what is off the diagonal.

    Args:
        logits: (B, K).
        temperature: > 0.

    Returns:
        Scalar, 0 (every image is sure of its class, and every class is in the batch; one that is not adds 1/K) to
        1 - 1/K (all predictions are uniform).
    """
    with torch.autocast(logits.device.type, enabled=False):
        predicted = (logits.float() / temperature).softmax(1)
        weights = entropy_weights(predicted).detach()
        confusion = (predicted * (len(predicted) * weights / weights.sum())[:, None]).T @ predicted
        # A class that no image of the batch may be has a row of zeros.
        rows = confusion.sum(1).clamp_min(torch.finfo(torch.float32).tiny)
        return 1 - (confusion.diagonal() / rows).mean()


def nuclear_norm(logits: Tensor) -> Tensor:
    """Mean of the singular values of the predictions (B, K) of a batch (BNM: Cui et al. 2020, "Towards
    discriminability and diversity", section 3.2).

    It is large where predictions are certain and many classes are predicted. The paper divides the sum by B, the
    authors' code, which has the published results, by min(B, K); so does this.

    Args:
        logits: (B, K).

    Returns:
        Scalar, above 0, at most sqrt(B / min(B, K)).
    """
    with torch.autocast(logits.device.type, enabled=False):
        predicted = logits.float().softmax(1)
        # Of a training that diverges the loss is not finite, which is said elsewhere, not an error here.
        return torch.linalg.svdvals(predicted.nan_to_num()).mean() + 0 * predicted.sum()


def ccsa(source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor, margin: float) -> Tensor:
    """Contrastive semantic alignment: equal classes together across domains, different ones a margin apart.

    The mean over pairs of equal class of ||s - t||^2 / 2 plus the mean over pairs of different class of
    max(0, margin - ||s - t||)^2 / 2, over all pairs of a source and a target image (Motiian et al. 2017, "Unified
    deep supervised domain adaptation and generalization"). A mean over no pairs is 0 (with a gradient of 0).

    Args:
        source, target: features (n, d) and (m, d).
        source_labels, target_labels: classes (n,) and (m,).
        margin: distance from which different classes no longer repel, > 0.

    Returns:
        Scalar, 0 or more.
    """
    distances = _distances(source, target)
    same = source_labels[:, None] == target_labels
    alignment = (distances.square() * same).sum() / same.sum().clamp_min(1)
    separation = ((margin - distances).clamp_min(0).square() * ~same).sum() / (~same).sum().clamp_min(1)
    return (alignment + separation) / 2


def _distances(source: Tensor, target: Tensor) -> Tensor:
    # Without matrix products the distance of near points is exact, and the gradient of coinciding ones is 0.
    return torch.cdist(source.float(), target.float(), compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor) -> Tensor:
    """Mean distance of a source image and a target image of different classes; of all pairs where none are.

    Args:
        source, target: features (n, d) and (m, d).
        source_labels, target_labels: classes (n,) and (m,).

    Returns:
        Scalar, 0 or more.
    """
    distances, different = _distances(source, target), source_labels[:, None] != target_labels
    counted = different | ~different.any()
    return (distances * counted).sum() / counted.sum()
