"""The config keys as dataclasses: those of a whole run, and those that all choices of a group share.

What one data source, backbone or method alone has stands beside it (see `tlcl.config.registry`). A key that is in
no dataclass is an error, a key that is in one is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, Lt

from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.continual import CompareConfig, ContinualConfig, MethodConfig, Seed
from tlcl.config.how_deep import HowDeepConfig
from tlcl.config.ranges import OneOf
from tlcl.config.stages import named_blocks
from tlcl.config.thaw import BLOCKS, ThawSchedule
from tlcl.errors import UserError
from tlcl.system.text import shown


def conf_dir() -> Path:
    """The folder of the configs: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


@dataclass
class DataConfig:
    """Keys that every data source has."""

    source: str
    train_size: Annotated[int | None, Ge(1)] = None
    val_size: Annotated[int | None, Ge(0)] = None
    batch_size: Annotated[int, Ge(2)] = 64
    crop_padding: Annotated[int, Ge(0), Lt(512)] = 0
    flip: bool = False
    cache_prefix: Annotated[str, OneOf("auto", "off", "ram", "disk")] = "auto"
    cache_gib: Annotated[float | None, Ge(0), Lt(1_000_000)] = None
    cache_dtype: Annotated[str, OneOf("float32", "bfloat16")] = "float32"
    cached_views: Annotated[int | None, Ge(2)] = None
    crop_area: Annotated[float | None, Gt(0), Le(1)] = None
    colour: Annotated[float, Ge(0), Le(1)] = 0.0
    mixup: Annotated[float, Ge(0), Lt(100)] = 0.0
    crop_head: bool = False
    balanced_batches: bool = False


@dataclass
class ModelConfig:
    """Keys that every backbone has.

    Attributes:
        least_input: what `input_size` null is at least, for images that are stored smaller.
        all_blocks: names of the blocks, the first one first, the last one `head`.
        cut: the block after which the others are left out, for a new head on its pooled outputs; the last ones are
            the most specialised (Yosinski et al. 2014, "How transferable are features in deep neural networks?").
        title: what it is called in sentences and on pages.
        lora, lora_alpha: rank (0: no LoRA) and scale of the matrices beside linear layers, see `tlcl.models.lora`.
    """

    least_input: ClassVar[int] = 32
    all_blocks: ClassVar[tuple[str, ...]] = BLOCKS

    name: str
    weights: str
    input_size: Annotated[int, Ge(8), Lt(8192)]
    cut: str | None = field(default=None, kw_only=True)
    lora: Annotated[int, Ge(0), Lt(8192)] = field(default=0, kw_only=True)
    lora_alpha: Annotated[int, Ge(1), Lt(1_000_000)] = field(default=16, kw_only=True)

    @classmethod
    def own_size(cls, values: Mapping[str, Any]) -> int | None:
        """What `input_size` null is for a network that takes one size alone; None for those that take any."""
        return None

    @property
    def title(self) -> str:
        return self.name

    def whole(self) -> tuple[str, ...]:
        """The names of all blocks of the network, before `cut`."""
        return self.all_blocks

    def block_names(self) -> tuple[str, ...]:
        """The names of the blocks there are.

        Raises:
            UserError: `cut` is no block of the backbone.
        """
        names = self.whole()
        if self.cut is None:
            return names
        last = named_blocks(f"model.cut={shown(self.cut)}", self.cut, names)[-1]
        if last == "head":
            raise UserError(f"model.cut={shown(self.cut)} would leave nothing out; set model.cut=null")
        return (*names[: names.index(last) + 1], "head")


@dataclass
class OptimConfig:
    name: Annotated[str, OneOf("sgd", "adamw")]
    lr: Annotated[float, Gt(0)]
    block_lr_decay: Annotated[float, Gt(0), Lt(1_000)]
    block_lr: dict[str, float]
    momentum: Annotated[float, Ge(0), Lt(1)]
    weight_decay: Annotated[float, Ge(0), Lt(1_000_000)]
    schedule: Annotated[str, OneOf("constant", "cosine")]
    warmup_epochs: Annotated[int, Ge(0)]
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    head: Annotated[str, OneOf("new", "fitted", "lp_ft")] = "new"
    batch_norm: Annotated[str, OneOf("train", "frozen")] = "train"
    class_weights: Annotated[str, OneOf("none", "balanced")] = "none"
    l2_sp: Annotated[float, Ge(0), Lt(1_000_000)] = 0.0
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass
class TrainerConfig:
    epochs: Annotated[int, Ge(1), Lt(1_000_000)]
    accelerator: str
    devices: Annotated[int, Ge(1)]
    precision: Annotated[str, OneOf("auto", "32-true", "bf16-mixed", "16-mixed")]
    channels_last: bool
    select: Annotated[str, OneOf("best", "last")]
    log_every: Annotated[int, Ge(1)]
    progress: bool
    frozen_precision: Annotated[str, OneOf("auto", "32-true", "bf16-mixed", "16-mixed")] = "auto"
    monitor: Annotated[str, OneOf("loss", "accuracy", "balanced_accuracy", "macro_f1")] = "loss"
    patience: Annotated[int | None, Ge(1)] = None
    wise_ft: Annotated[float, Ge(0), Le(1)] = 1.0
    num_nodes: Annotated[int, Ge(1)] = 1
    strategy: Annotated[str, OneOf("auto", "ddp")] = "auto"

    @property
    def processes(self) -> int:
        """One for each device of each node."""
        return self.devices * self.num_nodes

    @property
    def of_frozen(self) -> str:
        """The precision of frozen blocks that are computed once; an unresolved auto is the training's."""
        return self.precision if self.frozen_precision == "auto" else self.frozen_precision

    @property
    def shared(self) -> bool:
        """Whether the training is data-parallel (DDP)."""
        return self.processes > 1 or self.strategy == "ddp"


@dataclass
class LoggerConfig:
    name: str


@dataclass
class WandbConfig(LoggerConfig):
    mode: Annotated[str, OneOf("auto", "online", "offline")] = "auto"
    project: str = "tlcl"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    log_model: Annotated[str, OneOf("reference", "file", "none")] = "reference"


@dataclass
class Config:
    """A whole run. `thaw` is kept apart because its keys are epochs.

    Without the optional groups the job is fine-tuning; with `continual`, tasks one after another by `method`; with
    `source`, the labelled source domain, `data` is the target that `adaptation` adapts to. `compare` puts several
    methods in the place of `method` or `adaptation`. With `depth` nothing is kept: it says how deep to retrain.
    """

    name: str
    seed: Seed
    run_dir: str
    cache_dir: str
    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    thaw: dict[str, Any]
    continual: ContinualConfig | None = None
    method: MethodConfig | None = None
    compare: CompareConfig | None = None
    source: DataConfig | None = None
    adaptation: AdaptationConfig | None = None
    depth: HowDeepConfig | None = None
    extend: list[str] = field(default_factory=list)
    keep: Annotated[str, OneOf("all", "model")] = "all"

    @property
    def schedule(self) -> ThawSchedule:
        """The thaw schedule that `thaw` describes."""
        return ThawSchedule.from_config(self.thaw, self.trainer.epochs, self.model.block_names())


PLAIN: dict[str, type] = {
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "continual": ContinualConfig,
    "compare": CompareConfig,
    "depth": HowDeepConfig,
}
# What runs from before there were these keys are read as.
LATER: dict[str, Any] = {
    "keep": "all",
    "model.cut": None,
    "trainer.num_nodes": 1,
    "trainer.strategy": "auto",
    "trainer.frozen_precision": "auto",
    "trainer.monitor": "accuracy",
    "trainer.patience": None,
    "trainer.wise_ft": 1.0,
    "compare.jobs": 1,
    "adaptation.distances": "raw",
    "optim.label_smoothing": 0.0,
    "optim.head": "new",
    "optim.batch_norm": "train",
    "optim.class_weights": "none",
    "optim.l2_sp": 0.0,
    "optim.ema": 0.0,
    "model.lora": 0,
    "model.lora_alpha": 16,
    **{
        f"{group}.{key}": value
        for group in ("data", "source")
        for key, value in (
            ("crop_area", None), ("colour", 0.0), ("mixup", 0.0), ("crop_head", True), ("val", None),
            ("pixel_range", []), ("sort_classes", "text"), ("labels", "folders"), ("balanced_batches", False),
        )
    },
}  # fmt: skip
OPTIONAL = ("continual", "method", "compare", "source", "adaptation", "depth", "extend")  # what a job may lack
