"""Nearest class mean on frozen features."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting


@register("method", "ncm", MethodConfig)
class NCM(Method):
    """The class whose mean feature is nearest in Euclidean distance (Mensink et al. 2013).

    Sums and counts, in double precision, are all it keeps: the order of the examples does not matter, and nothing
    can be forgotten.
    """

    closed_form: ClassVar[bool] = True
    sums: Tensor
    counts: Tensor

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        classes, size = setting.num_outputs, setting.feature_size
        self.register_buffer("sums", torch.zeros(classes, size, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.float64))

    def observe_features(self, features: Tensor, labels: Tensor) -> None:
        self.sums.index_add_(0, labels, features.double())
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    @property
    def means(self) -> Tensor:
        """(K, D); zero for a class without examples."""
        return self.sums / self.counts.clamp_min(1)[:, None]

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        # Not torch.cdist: for many rows it goes through a product that loses digits between near means.
        features, means = net.features(inputs).double(), self.means
        return 2 * features @ means.T - means.square().sum(1) - features.square().sum(1, keepdim=True)

    def as_last_layer(self) -> tuple[Tensor, Tensor]:
        return 2 * self.means, -self.means.square().sum(1)
