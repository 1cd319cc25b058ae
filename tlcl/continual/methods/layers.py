"""Ridge regression on the outputs of all blocks of a frozen network."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from tlcl.config.continual import MethodConfig
from tlcl.config.registry import register
from tlcl.continual.methods.base import Method, Network, Setting, TaskData
from tlcl.errors import UserError
from tlcl.models.blocks import FEATURES, Blocks, beside
from tlcl.seeding import generator

UNIT, MOST = 256, 2**14  # steps of 1 in fixed point, and the largest step there is: vectors have a mean square of 1
RIDGES = tuple(10 ** (power / 4) for power in range(-24, 9))  # times the number of examples
ROUNDING = 1e-10  # share of the targets' squares below which none are beside the inputs' directions
ALL = "all"


@dataclass
class LayersConfig(MethodConfig):
    blocks: Any = ALL
    projection: Annotated[int, Ge(0)] = 0


def fixed_point(values: Tensor) -> Tensor:
    """Whole numbers, in double, of at most 2^14: sums of products of 2^25 of them are exact, in any order."""
    return (values.double() * UNIT).round().clamp(-MOST, MOST)


def generalised_cross_validation(
    values: Tensor, moments: Tensor, total: float, examples: int, ridges: Tensor
) -> Tensor:
    """About the mean squared error of leaving one example out, for each ridge (Golub, Heath & Wahba 1979, eq. 1.4).

    (1/n) |Y - H Y|^2 / (1 - (1 + tr H) / n)^2, with H of the ridge regression, one degree of freedom more for the
    mean, and every example weighing alike. Both are sums of what is left in each direction, and beside them: what
    is explained, taken off the whole, would leave rounding where nearly all is explained.

    Args:
        values: (D,), eigenvalues, 0 where there is no spread, of the Gram matrix G of centred inputs.
        moments: (D, K), their eigenvectors' products with X^T Y.
        total: sum of the squares of the centred targets.
        ridges: (R,).

    Returns:
        float64 (R,); infinite where there are no degrees of freedom left.
    """
    known = values > 0
    values, squares = values[known], moments.square().sum(1)[known]
    within = squares / values  # of the targets' squares, in each direction
    beside = total - float(within.sum())
    beside = beside if beside > ROUNDING * total else 0.0
    unshrunk = ridges / (values[:, None] + ridges)
    left = (examples - 1 - len(values) + unshrunk.sum(0)) / examples
    error = (beside + (within[:, None] * unshrunk.square()).sum(0)) / examples / left.square()
    return torch.where(left > 0, error, torch.inf)


@register("method", "layers", LayersConfig)
class Layers(Method):
    """Ridge regression on means and deviations of the outputs of all blocks side by side, in closed form.

    After LayUP (Ahrens et al. 2023, "Read between the layers": the last layer alone forgets what earlier ones
    tell) and RanPAC (McDonnell et al. 2023). The vectors are those of `Blocks.vectors`, standardised by their own
    mean and deviation, the targets one output a class; the ridge has the smallest error by generalised
    cross-validation, leave-one-out with the mean leverage for each example's own, so that none is given away. With
    `projection` so many columns relu(x W) come beside, W ~ N(0, 1 / D) fixed; heat maps leave them out.

    It keeps sums alone, of whole numbers (`fixed_point`): exact, so that any order of images, tasks and classes and
    any batches, of the same vectors give the same sums to the bit, up to 33 million images. (A network may compute
    the vectors of a last, small batch by other kernels, which differ by rounding.) The numbers of the paper are
    those of vision transformers; on the CNNs here a projection brought nothing.
    """

    closed_form: ClassVar[bool] = True
    accumulators: ClassVar[tuple[str, ...]] = ("gram", "class_sums", "counts")
    gram: Tensor
    class_sums: Tensor
    counts: Tensor
    weight: Tensor
    bias: Tensor
    ridge: Tensor
    columns: Tensor

    @classmethod
    def place(cls, config: Any, net: Blocks) -> str:
        names, wanted = list(net.names[:-1]), config.blocks
        if wanted != ALL:
            listed = isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted)
            if not listed or not set(wanted) <= {*names, FEATURES}:
                raise UserError(
                    f"method.blocks={wanted} must be {ALL} or a list of {', '.join((*names, FEATURES))}"
                )
            return beside([name for name in net.places if name in wanted])
        return beside(names if _pooled_alike(net, names[-1]) else [*names, FEATURES])

    def __init__(self, setting: Setting, network: Network, config: Any) -> None:
        super().__init__(setting, network, config)
        classes, size = setting.num_outputs, setting.feature_size
        columns, wide = config.projection, setting.feature_size + config.projection
        for name, shape in (
            ("gram", (wide, wide)),
            ("class_sums", (classes, wide)),
            ("counts", (classes,)),
            ("weight", (classes, wide)),
            ("bias", (classes,)),
            ("ridge", ()),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        drawn = torch.randn(size, columns, generator=generator(setting.seed, "layers")) / size**0.5
        self.register_buffer("columns", fixed_point(drawn))

    def inputs(self, features: Tensor) -> Tensor:
        """(B, D) -> whole numbers (B, D + projection)."""
        own = fixed_point(features)
        if not self.columns.shape[1]:
            return own
        return torch.cat([own, fixed_point((own @ self.columns).relu() / UNIT**2)], 1)

    def observe_features(self, features: Tensor, labels: Tensor) -> None:
        own = self.inputs(features)
        self.gram.addmm_(own.T, own)
        self.class_sums.index_add_(0, labels, own)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def end_task(self, net: Network, data: TaskData) -> None:
        examples = self.counts.sum()
        mean = self.class_sums.sum(0) / examples
        scatter = self.gram - examples * torch.outer(mean, mean)
        deviation = (scatter.diagonal() / examples).clamp_min(0).sqrt()
        scale = torch.where(deviation > 0.5, 1 / deviation, 0)  # less than rounding tells nothing
        gram = scatter * torch.outer(scale, scale)
        moments = (self.class_sums.T - torch.outer(mean, self.counts)) * scale[:, None]
        share = self.counts / examples
        total = float((self.counts * (1 - share)).sum())
        values, vectors = torch.linalg.eigh(gram)
        # Directions without any spread, as of fewer examples than columns, have rounding alone: that of the
        # decomposition, and of taking off the means.
        largest = torch.maximum(values.max(), examples * (mean * scale).square().sum())
        values = torch.where(values > len(values) * torch.finfo(values.dtype).eps * largest, values, 0)
        turned = torch.where(values[:, None] > 0, vectors.T @ moments, 0)
        ridges = examples * torch.tensor(RIDGES, dtype=torch.float64, device=gram.device)
        errors = generalised_cross_validation(values, turned, total, int(examples), ridges)
        self.ridge.copy_(ridges[errors.argmin()])
        solution = vectors @ (turned / (values + self.ridge)[:, None])
        self.weight.copy_((solution * scale[:, None]).T)
        self.bias.copy_(share - self.weight @ mean)

    def predict(self, net: Network, inputs: Tensor) -> Tensor:
        features = net.features(inputs)
        # Rounding has no gradient, which heat maps need.
        own = features.double() * UNIT if features.requires_grad else self.inputs(features)
        return own @ self.weight[:, : own.shape[1]].T + self.bias


@torch.no_grad()
def _pooled_alike(net: Blocks, last: str) -> bool:
    """Whether `features` are the last block's outputs, pooled, so that they tell nothing more."""
    size, device = net.inputs.size, net.inputs.mean.device
    images = torch.randint(0, 256, (2, 3, size, size), generator=generator(0, "layers/alike")).to(torch.uint8)
    training = net.training
    net.eval()
    outputs = net(images.to(device), stop=last)
    features = net(outputs, start=last, stop=FEATURES)
    net.train(training)
    pooled = net.pooled(last, outputs)
    return pooled.shape == features.shape and torch.allclose(pooled, features, rtol=1e-3, atol=1e-5)
