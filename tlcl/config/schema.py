"""The whole list of config keys, as dataclasses: a key that is not here is an error, a key that is here is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlcl.config import adaptation as config_adaptation
from tlcl.config import continual as config_continual
from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.continual import CompareConfig, ContinualConfig, MethodConfig
from tlcl.config.thaw import ThawSchedule


def conf_dir() -> Path:
    """The folder of the configs: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


@dataclass
class DataConfig:
    """Keys that every data source has."""

    source: str
    train_size: int | None = None
    val_size: int | None = None
    batch_size: int = 64
    crop_padding: int = 0
    flip: bool = False
    cache_prefix: str = "auto"
    cache_gib: float | None = None
    cache_dtype: str = "float32"
    cached_views: int | None = None


@dataclass
class DigitsConfig(DataConfig):
    shift: str = "none"


@dataclass
class LettersConfig(DataConfig):
    images_per_class: int = 400


@dataclass
class RenderedDigitsConfig(DataConfig):
    images_per_class: int = 200


@dataclass
class Cifar10Config(DataConfig):
    root: str = "???"
    download: bool = True


@dataclass
class ImageFolderConfig(DataConfig):
    train: str = "???"
    test: str | None = None
    test_fraction: float = 0.2
    size: int = 64
    channels: int = 3
    on_bad_image: str = "error"


@dataclass
class FewLabelSplitsConfig(DataConfig):
    root: str = "???"
    shots: list[int] | None = None
    repetitions: list[int] | None = None


@dataclass
class ModelConfig:
    """Keys that every backbone has."""

    name: str
    weights: str
    input_size: int


@dataclass
class ResNet18Config(ModelConfig):
    stem: str = "imagenet"


@dataclass
class EfficientNetLite0Config(ModelConfig):
    pass


@dataclass
class SmallCNNConfig(ModelConfig):
    dropout: float = 0.0


@dataclass
class OptimConfig:
    name: str
    lr: float
    block_lr_decay: float
    block_lr: dict[str, float]
    momentum: float
    weight_decay: float
    schedule: str
    warmup_epochs: int


@dataclass
class TrainerConfig:
    epochs: int
    accelerator: str
    devices: int
    precision: str
    channels_last: bool
    select: str
    log_every: int
    progress: bool
    num_nodes: int = 1
    strategy: str = "auto"

    @property
    def processes(self) -> int:
        """One for each device of each node."""
        return self.devices * self.num_nodes

    @property
    def shared(self) -> bool:
        """Whether the training is data-parallel (DDP)."""
        return self.processes > 1 or self.strategy == "ddp"


@dataclass
class LoggerConfig:
    name: str


@dataclass
class WandbConfig(LoggerConfig):
    mode: str = "auto"
    project: str = "tlcl"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    log_model: str = "reference"


@dataclass
class Config:
    """A whole run. `thaw` is kept apart because its keys are epochs.

    Without the optional groups the job is fine-tuning; with `continual`, tasks one after another by `method`; with
    `source`, the labelled source domain, `data` is the target that `adaptation` adapts to. `compare` puts several
    methods in the place of `method` or `adaptation`.
    """

    name: str
    seed: int
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
    extend: list[str] = field(default_factory=list)

    @property
    def schedule(self) -> ThawSchedule:
        """The thaw schedule that `thaw` describes."""
        return ThawSchedule.from_config(self.thaw)


DATA: dict[str, type] = {
    "digits": DigitsConfig,
    "letters": LettersConfig,
    "rendered_digits": RenderedDigitsConfig,
    "cifar10": Cifar10Config,
    "image_folder": ImageFolderConfig,
    "few_label_splits": FewLabelSplitsConfig,
}
# Which dataclass a group takes is decided by the one key that names the choice.
VARIANTS: dict[str, tuple[str, dict[str, type]]] = {
    "data": ("source", DATA),
    "source": ("source", DATA),
    "model": (
        "name",
        {
            "resnet18": ResNet18Config,
            "efficientnet_lite0": EfficientNetLite0Config,
            "small_cnn": SmallCNNConfig,
        },
    ),
    "logger": ("name", {"wandb": WandbConfig, "none": LoggerConfig}),
    "method": ("name", config_continual.METHODS),
    "adaptation": ("name", config_adaptation.ADAPTATIONS),
}
PLAIN: dict[str, type] = {
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "continual": ContinualConfig,
    "compare": CompareConfig,
}
# What runs from before there were these keys are read as.
LATER: dict[str, Any] = {"trainer.num_nodes": 1, "trainer.strategy": "auto"}
OPTIONAL = ("continual", "method", "compare", "source", "adaptation", "extend")  # what a job may lack
CHOICES: dict[str, tuple[str, ...]] = {
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("constant", "cosine"),
    "data.cache_prefix": ("auto", "off", "ram", "disk"),
    "data.cache_dtype": ("float32", "bfloat16"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
    "trainer.strategy": ("auto", "ddp"),
    "trainer.select": ("best", "last"),
    "logger.mode": ("auto", "online", "offline"),
    "logger.log_model": ("reference", "file", "none"),
    "data.on_bad_image": ("error", "skip"),
    "data.shift": ("none", "inverted", "noisy"),
    "data.channels": (1, 3),  # type: ignore[dict-item]
    "model.stem": ("imagenet", "cifar"),
    **config_continual.CHOICES,
    **config_adaptation.CHOICES,
}
# key -> smallest value, and whether that value itself is allowed
MINIMA: dict[str, tuple[float, bool]] = {
    "seed": (0, True),
    "compare.seeds": (0, True),
    "data.shots": (1, True),
    "data.repetitions": (0, True),
    "data.train_size": (1, True),
    "data.val_size": (0, True),
    "data.batch_size": (2, True),
    "data.crop_padding": (0, True),
    "data.cache_gib": (0, True),
    "data.cached_views": (2, True),
    "data.images_per_class": (4, True),
    "data.size": (4, True),
    "data.test_fraction": (0, False),
    "model.input_size": (8, True),
    "model.dropout": (0, True),
    "optim.lr": (0, False),
    "optim.block_lr_decay": (0, False),
    "optim.momentum": (0, True),
    "optim.weight_decay": (0, True),
    "optim.warmup_epochs": (0, True),
    "trainer.epochs": (1, True),
    "trainer.devices": (1, True),
    "trainer.num_nodes": (1, True),
    "trainer.log_every": (1, True),
    **config_continual.MINIMA,
    **config_adaptation.MINIMA,
}
WHOLE = 2**31  # what a whole number without a line below must not reach
# key -> the value that must not be reached
SUPREMA: dict[str, float] = {
    "seed": 10**18,
    "compare.seeds": 10**18,
    "data.crop_padding": 512,
    "data.cache_gib": 1_000_000,
    "data.images_per_class": 1_000_000,
    "data.size": 8192,
    "model.input_size": 8192,
    "trainer.epochs": 1_000_000,
    "optim.momentum": 1.0,
    "data.test_fraction": 1.0,
    "model.dropout": 1.0,
    **config_continual.SUPREMA,
    **config_adaptation.SUPREMA,
}
