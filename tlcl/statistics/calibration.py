"""Whether answers are as often right as they are sure, and one temperature that makes them so: pure functions.

Guo et al. 2017, "On calibration of modern neural networks".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, softmax

FEWEST = 20  # images; fewer say little of how sure answers may be
BINS = 15  # as Guo et al. have them
TEMPERATURES = 0.01, 100.0  # the range that is searched
# Times the spread of an image's scores: the range of temperatures of scores. Flatter ones would only make classes
# equal that are not, in float32.
SHARPEST, FLATTEST = 1e-4, 100.0
LEAST_LIKELY = 1e-12  # a probability of zero of the true class would be an infinite loss


def too_few(images: int) -> str | None:
    """Why so many held-out images say too little of how sure answers may be; None where they say enough."""
    if images >= FEWEST:
        return None
    return f"{images} held-out {'image is' if images == 1 else 'images are'} too few, it takes {FEWEST}"


def _logits(probabilities: ArrayLike) -> np.ndarray:
    """Logarithms, float64, of which a softmax makes the probabilities again; zeros become the least of float32."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))


def tempered(probabilities: ArrayLike, temperature: float) -> np.ndarray:
    """softmax(logits / temperature) (section 4.2, equation 9), from the probabilities of the logits.

    The order of the classes, and with it the answer, stays.

    Args:
        probabilities: (N, K), rows sum to 1.
        temperature: above 0; above 1 for answers that are less sure, below 1 for surer ones.

    Returns:
        float64 (N, K), rows sum to 1.
    """
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1))


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The temperature with the lowest negative log-likelihood on held-out images, within `TEMPERATURES`.

    The loss is convex in 1 / temperature, so that there is one lowest.

    Args:
        probabilities: (N, K) of images that were not learned from, rows sum to 1.
        labels: int (N,), 0..K-1.

    Raises:
        ValueError: no images, or every answer is right, where the lower the temperature the lower is the loss.
    """
    logits, answers = _logits(probabilities), np.asarray(labels)
    if not len(answers) or (logits.argmax(1) == answers).all():
        raise ValueError("a temperature needs held-out images, at least one of them with a wrong answer")
    rows = np.arange(len(answers))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, answers].mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def fit_score_temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """By what scores of any unit are divided, so that a softmax of them is on average as sure as it is right.

    On the held-out images the mean confidence is then the share of right answers, by Laplace's estimate
    (right + 1) / (n + 2) of the next one being right. The likeliest temperature of `fit_temperature` is another one
    where a network is surely wrong, as one that has forgotten its first classes is: of all temperatures none makes
    such answers likely, and the likeliest leaves them too sure.

    Args:
        scores: (N, K) of images that were not learned from; -inf for what cannot be the answer. Rows with a NaN, or
            with nothing but -inf, have no say.
        labels: int (N,), 0..K-1.

    Returns:
        Within `SHARPEST` and `FLATTEST` times the scores' own spread; 1 if no row has a say, or no scores differ.

    Raises:
        ValueError: no images.
    """
    given, answers = np.asarray(scores, np.float64), np.asarray(labels)
    if not len(answers):
        raise ValueError("a temperature needs held-out images")
    known = np.isfinite(given).any(1) & ~np.isnan(given).any(1)
    given, answers = given[known], answers[known]
    spreads = given.max(1, initial=-np.inf) - np.where(np.isfinite(given), given, np.inf).min(1, initial=np.inf)
    if not (spreads > 0).any():
        return 1.0
    spread = float(np.median(spreads[spreads > 0]))
    wanted = (int((given.argmax(1) == answers).sum()) + 1) / (len(answers) + 2)

    def short(log_temperature: float) -> float:
        return float(softmax(given / np.exp(log_temperature), axis=1).max(1).mean()) - wanted

    low, high = np.log(spread * SHARPEST), np.log(spread * FLATTEST)
    if short(low) <= 0:  # two classes with equal scores, which no unit makes surer
        return spread * SHARPEST
    if short(high) >= 0:  # right less often than drawn answers
        return spread * FLATTEST
    return float(np.exp(brentq(short, low, high)))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p of the true class, in nats; a p below `LEAST_LIKELY` counts as that.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: int (N,), 0..K-1.
    """
    given, answers = np.asarray(probabilities, np.float64), np.asarray(labels)
    return float(-np.log(np.maximum(given[np.arange(len(answers)), answers], LEAST_LIKELY)).mean())


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence, by bins of equal width: ((m - 1) / M, m / M], m = 1..M.

    Attributes:
        edges: float (M + 1,), from 0 to 1.
        counts: int (M,), images by the confidence of their answer, which is the largest probability.
        confidence, accuracy: float (M,), means over the images of a bin, in 0..1; NaN where there are none.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error, in 0..1: |accuracy - confidence| of each bin, weighted by its images.

        Section 2, equation 3. It is NaN for no images.
        """
        some = self.counts > 0
        gaps = np.abs(self.accuracy[some] - self.confidence[some])
        return float((self.counts[some] * gaps).sum() / self.counts.sum()) if some.any() else float("nan")


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Reliability:
    """Accuracy and confidence of answers, by their confidence.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: int (N,), 0..K-1.
    """
    given = np.asarray(probabilities, np.float64)
    sure, right = given.max(1), given.argmax(1) == np.asarray(labels)
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(sure, edges[1:-1], right=True)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights, bins) / counts for weights in (sure, right)]
    return Reliability(edges, counts, *means)
