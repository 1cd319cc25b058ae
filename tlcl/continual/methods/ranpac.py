"""Ridge regression on random projections of frozen features."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.data.datamodule import EVAL_BATCH
from tlcl.data.equal_images import digests
from tlcl.seeding import generator

RIDGES = tuple(10.0**power for power in range(-8, 9))
HELD_OUT = 5  # one in so many examples of a task


def held_out(images: Tensor) -> Tensor:
    """bool (N,), about one in `HELD_OUT` of (N, ...): by a hash of each one's pixels, so that no order matters.

    Not of its features, whose last bits may depend on the batch that an image was in.
    """
    held = [int.from_bytes(digest[:8], "little") % HELD_OUT == 0 for digest in digests(images)]
    return torch.tensor(held, dtype=torch.bool)


def ridge_solution(gram: Tensor, moments: Tensor, ridge: float) -> Tensor:
    """(G + ridge I)^-1 C: gram (M, M), moments (M, K) -> (M, K); not finite where that is singular in double."""
    shifted = gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_ex(shifted, moments).result


@dataclass
class RanPACConfig(MethodConfig):
    projection: Annotated[int, Ge(1)] = 2000


@register("method", "ranpac", RanPACConfig)
class RanPAC(Method):
    """RanPAC (McDonnell et al. 2023), without its optional first-session adapter.

    h = relu(z W) with a fixed W ~ N(0, 1) of `projection` columns; G = sum h h^T and C = sum h y^T over all
    examples so far; the answer is the largest of h^T (G + ridge I)^-1 C. The ridge, among 10^-8..10^8, is chosen
    anew in each task: it has the least squared error on about a fifth of the task's examples (`held_out`) when the
    rest and all before are fitted (the authors' code holds out the last fifth and fits the rest alone). Default:
    2,000 columns; the paper takes 10,000, which costs 25 times the memory and 125 times the time of the solution.
    """

    closed_form: ClassVar[bool] = True
    weights: Tensor
    gram: Tensor
    moments: Tensor
    solution: Tensor
    ridge: Tensor

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        columns, classes = config.projection, setting.num_outputs
        for name, shape in (
            ("gram", (columns, columns)),
            ("moments", (columns, classes)),
            ("solution", (columns, classes)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        # After the Gram matrix, whose memory is the first to lack: it lacks at once, these take minutes to draw.
        random = generator(setting.seed, "ranpac")
        self.register_buffer("weights", torch.randn(setting.feature_size, columns, generator=random).double())
        self.register_buffer("ridge", torch.zeros((), dtype=torch.float64))
        self._observed: list[tuple[Tensor, Tensor]] = []

    def project(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, M), double: so that it is the same in training and under mixed precision."""
        return (features.double() @ self.weights).relu()

    def _accumulate(self, projected: Tensor, targets: Tensor) -> None:
        self.gram.addmm_(projected.T, projected)
        self.moments.addmm_(projected.T, targets)

    def observe_features(self, features: Tensor, labels: Tensor) -> None:
        self._observed.append((features, labels))  # which of them are held out is known with the images

    def end_task(self, net: Network, data: TaskData) -> None:
        observed, self._observed = self._observed, []
        parts = [held_out(data.images[part]) for part in data.indices.split(EVAL_BATCH)]  # they may lie on a disk
        held = torch.cat(parts).to(self.gram.device)
        apart = []
        for (features, labels), out in zip(observed, held.split([len(own) for _, own in observed]), strict=True):
            projected = self.project(features)
            targets = nn.functional.one_hot(labels, self.moments.shape[1]).double()
            apart.append((projected[out], targets[out]))
            self._accumulate(projected[~out], targets[~out])
        projected, targets = (torch.cat(parts) for parts in zip(*apart, strict=True))
        if len(projected) and bool(self.gram.any()):
            errors = []
            for ridge in RIDGES:
                answer = projected @ ridge_solution(self.gram, self.moments, ridge)
                errors.append(float((answer - targets).square().mean().nan_to_num(torch.inf)))
            self.ridge.fill_(RIDGES[min(range(len(RIDGES)), key=errors.__getitem__)])
        self._accumulate(projected, targets)
        if not self.ridge:  # of a few images none, or all, are held out: as much as a column has on average
            self.ridge.copy_(self.gram.diagonal().mean())
        self.solution.copy_(ridge_solution(self.gram, self.moments, float(self.ridge)))

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        return self.project(net.features(inputs)) @ self.solution
