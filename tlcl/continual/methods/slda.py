"""Streaming linear discriminant analysis on frozen features."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting, TaskData


@dataclass
class SLDAConfig(MethodConfig):
    shrinkage: Annotated[float, Gt(0), Lt(1)] = 1e-4


@register("method", "slda", SLDAConfig)
class SLDA(Method):
    """Deep SLDA (Hayes & Kanan 2020): class means and one covariance, updated as the examples come.

    The covariance is the pooled within-class covariance S / n to the last digit: a new example z of a class with
    c examples and mean mu adds c/(c+1) (z - mu)(z - mu)^T to the scatter S (Welford 1962, for vectors). The
    paper's update has the count of all classes in the factor, which drifts from it. The answer is the class of the
    largest W z + b, with P = ((1 - epsilon) S/n + epsilon I)^-1, w_k = P mu_k, b_k = -mu_k^T P mu_k / 2.
    Default: epsilon (`shrinkage`) 1e-4.
    """

    closed_form: ClassVar[bool] = True
    means: Tensor
    counts: Tensor
    scatter: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        classes, size = setting.num_outputs, setting.feature_size
        for name, shape in (
            ("means", (classes, size)),
            ("counts", (classes,)),
            ("scatter", (size, size)),
            ("weight", (classes, size)),
            ("bias", (classes,)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def observe_features(self, features: Tensor, labels: Tensor) -> None:
        # A class's part of the batch at once: the examples' scatter about their own mean, and that mean as one
        # example of weight m (Chan, Golub & LeVeque 1983); m = 1 is the update in the docstring.
        for label in labels.unique().tolist():
            examples = features[labels == label].double()
            m, c = len(examples), self.counts[label]
            mean = examples.mean(0)
            centred, step = examples - mean, mean - self.means[label]
            self.scatter += centred.T @ centred + c * m / (c + m) * torch.outer(step, step)
            self.means[label] += step * m / (c + m)
            self.counts[label] += m

    def end_task(self, net: Network, data: TaskData) -> None:
        size, epsilon = len(self.scatter), self.config.shrinkage
        identity = torch.eye(size, dtype=torch.float64, device=self.scatter.device)
        covariance = (1 - epsilon) * self.scatter / self.counts.sum() + epsilon * identity
        self.weight.copy_(torch.linalg.solve(covariance, self.means.T).T)
        self.bias.copy_(-(self.weight * self.means).sum(1) / 2)

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        return net.features(inputs).double() @ self.weight.T + self.bias

    def as_last_layer(self) -> tuple[Tensor, Tensor]:
        return self.weight, self.bias
