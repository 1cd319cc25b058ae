"""What a method of domain adaptation is: the loss of a source batch and a target batch, and what comes after."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tlcl.adaptation.losses import dann_strength
from tlcl.adaptation.pairs import Pair
from tlcl.adaptation.source_averages import SourceAverages
from tlcl.config.adaptation import WeightedConfig
from tlcl.data.datamodule import Batch
from tlcl.models.blocks import FEATURES, Blocks

NONE, FEW, ALL = "none", "few", "all"  # labels of the target


class Step(NamedTuple):
    """What a training step comes to.

    Attributes:
        loss: scalar, to be minimised.
        logits: (B, K), of the images whose training accuracy is recorded.
        labels: int64 (B,), their classes.
        parts: name -> scalar, the terms of the loss before they are weighted, for the record as `train/NAME`.
    """

    loss: Tensor
    logits: Tensor
    labels: Tensor
    parts: dict[str, Tensor]


class Domains(NamedTuple):
    """A pass of each: the aligned block's outputs (n, ...) and (m, ...), logits (n, K) and (m, K)."""

    source: Tensor
    target: Tensor
    source_logits: Tensor
    target_logits: Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the images that have a label; 0 (with a gradient of 0) when none has.

    Args:
        logits: (B, K).
        labels: int64 (B,), -1 where the class is not known.
    """
    total = nn.functional.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)


def single_domain(net: Blocks, batch: Batch) -> Step:
    """The cross-entropy of one domain's batch is all there is."""
    logits = net(batch.images)
    task = classification_loss(logits, batch.labels)
    return Step(task, logits, batch.labels, {"task": task})


def passes(
    net: Blocks,
    source: Tensor,
    target: Tensor,
    block: str,
    averages: SourceAverages | None = None,
    start: str | None = None,
) -> Domains:
    """A pass of each domain, so that BatchNorm normalises each by its own statistics.

    As in the authors' code of CDAN, and as in domain-specific batch normalisation (Chang et al. 2019): a change of
    brightness or contrast from domain to domain is gone with the statistics. The running averages, which take the
    batch's place in the test, are those of the target alone, for which the network is meant, so the source's test
    accuracy suffers; the source's own are kept beside. To networks without BatchNorm it is all the same.

    Args:
        source, target: uint8 (n, C, H, W) and (m, C', H', W'), whose size and channels may differ; or outputs of
            `start`.
        block: whose outputs are compared.
        averages: which the source's pass moves; None: of nothing.
    """
    with (SourceAverages(net) if averages is None else averages).in_place(net):
        ours = net(source, start=start, stop=block)
        our_logits = net(ours, start=block)
    theirs = net(target, start=start, stop=block)
    return Domains(ours, theirs, our_logits, net(theirs, start=block))


def both_domains(
    net: Blocks, source: Tensor, target: Tensor, block: str, averages: SourceAverages | None = None
) -> Domains:
    """As `passes`, with the block's outputs pooled: (n, D) and (m, D)."""
    domains = passes(net, source, target, block, averages)
    return domains._replace(source=net.pooled(block, domains.source), target=net.pooled(block, domains.target))


class AdaptationMethod(nn.Module):
    """A method is a subclass in a file of its own: `loss`, and `finish` where something follows the training.

    What it trains beside the network (a domain discriminator, a decoder) are submodules: their parameters make one
    more group of the optimizer, at the head's learning rate, and are saved in the checkpoint. The network is handed
    to every hook and never kept.

    Args:
        config: the `adaptation` group.
        net: for sizes alone; its weights may still change.

    Attributes:
        supervision: target labels that training sees: `none`, `few` (`config.target_labels` a class), or `all`.
        unlabelled: whether target images without a label are of use.
        from_images: whether it needs the images, and the whole network, whatever stays frozen. A method without
            that need calls the network and `pooled` alone, and may be given outputs of frozen blocks.
        swaps_averages: whether it puts the target's BatchNorm averages in the place of those that the network was
            trained with, which must be the source's for that.
    """

    from_images: ClassVar[bool] = True
    supervision: ClassVar[str] = FEW
    unlabelled: ClassVar[bool] = True
    swaps_averages: ClassVar[bool] = False

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__()
        self.config = config

    def settings(self) -> dict[str, Any]:
        """What it works with, for the record: its keys, with what they stand for in the place of null."""
        return dict(vars(self.config))

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        """The loss of one step.

        Args:
            pair: a batch of each domain, whose sizes, of batches and images, may differ; target labels are -1 where
                the class is hidden.
            progress: share of all training steps done, 0 <= progress < 1.
        """
        raise NotImplementedError

    def begin(self, net: Blocks) -> None:
        """Before the first step, with the weights that the training begins with."""

    def as_source(self, net: Blocks) -> AbstractContextManager[None]:
        """Meanwhile the network is as it is for the source, which validation asks about."""
        return nullcontext()

    def finish(self, net: Blocks, target: Tensor) -> None:
        """After the training, with the weights that are tested; without gradients.

        Args:
            target: uint8 (M, C, H, W), the target's training images, on the CPU.
        """


def growth(ramp: str, progress: float) -> float:
    """How much of a weight has grown by `ramp`: `none`, all of it at once; `dann`, 2 / (1 + exp(-10 p)) - 1."""
    return dann_strength(progress) if ramp == "dann" else 1.0


def strength(config: WeightedConfig, progress: float) -> float:
    """`weight` as far as it has grown."""
    return config.weight * growth(config.ramp, progress)


class PairedMethod(AdaptationMethod):
    """A method whose steps pass both domains: BatchNorm has averages of each."""

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        self.averages = SourceAverages(net)

    def begin(self, net: Blocks) -> None:
        self.averages.begin(net)

    def as_source(self, net: Blocks) -> AbstractContextManager[None]:
        return self.averages.in_place(net)


class InFirstUnits(PairedMethod):
    """A method whose distances are in units of the first batch's, which checkpoints hold.

    Attributes:
        unit_before: that of a run whose checkpoint has none; 0: it is measured.
    """

    unit: Tensor
    unit_before = 0.0

    def __init__(self, config: Any, net: Blocks) -> None:
        super().__init__(config, net)
        self.register_buffer("unit", torch.zeros(()))  # 0: not measured yet

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "unit": float(self.unit)}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}unit", torch.full_like(self.unit, self.unit_before))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def in_units(self, first: Tensor) -> Tensor:
        """The unit, which is `first` where none is known yet."""
        with torch.no_grad():
            first = first.clamp_min(torch.finfo(first.dtype).tiny ** 0.5)  # outputs that are all equal have none
            self.unit.copy_(torch.where(self.unit > 0, self.unit, first))
        return self.unit.clone()


class AligningMethod(PairedMethod):
    """Cross-entropy of the source, and of the target where it has labels, plus a loss of both domains' outputs."""

    from_images = False

    @property
    def block(self) -> str:
        """Whose outputs are aligned; of a method that takes the answers alone, what they are made of."""
        return str(getattr(self.config, "block", FEATURES))

    def alignment(self, domains: Domains, progress: float) -> Tensor:
        """The scalar that is recorded, before it is weighted."""
        raise NotImplementedError

    def total(self, task: Tensor, alignment: Tensor, progress: float) -> Tensor:
        """What is minimised."""
        return task + strength(self.config, progress) * alignment

    def loss(self, net: Blocks, pair: Pair, progress: float) -> Step:
        source, target = pair
        domains = both_domains(net, source.images, target.images, self.block, self.averages)
        task = classification_loss(domains.source_logits, source.labels)
        task = task + classification_loss(domains.target_logits, target.labels)
        alignment = self.alignment(domains, progress)
        loss = self.total(task, alignment, progress)
        return Step(loss, domains.source_logits, source.labels, {"task": task, "alignment": alignment})


def sample_outputs(net: Blocks, block: str) -> Tensor:
    """A block's outputs for two black images, for their shape; the network's mode stays as it was."""
    size = net.inputs.size
    images = torch.zeros((2, 3, size, size), dtype=torch.uint8, device=net.inputs.mean.device)
    training = net.training
    net.eval()
    with torch.no_grad():
        outputs: Tensor = net(images, stop=block)
    net.train(training)
    return outputs


def width(net: Blocks, block: str) -> int:
    """D of a block's pooled outputs."""
    return int(net.pooled(block, sample_outputs(net, block)).shape[1])


Method = AdaptationMethod  # in users' files of before
