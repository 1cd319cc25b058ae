"""The config keys of domain adaptation: the group `adaptation`, one dataclass for each kind of method."""

from dataclasses import dataclass
from typing import Any


@dataclass
class AdaptationConfig:
    """Keys that every method has: which one, and which epoch's weights are tested (`tlcl.adaptation.validator`)."""

    name: str
    validator: str = "last"


@dataclass
class FewLabelsConfig(AdaptationConfig):
    """A method that uses `target_labels` labelled target images a class; 0: none, the target is unlabelled."""

    target_labels: int = 0


@dataclass
class FineTuneConfig(FewLabelsConfig):
    target_labels: int = 5
    source_share: float = 0.5


@dataclass
class AlignmentConfig(FewLabelsConfig):
    """A method that aligns the outputs of `block` in both domains with `weight`, which grows by `ramp`."""

    block: str = "features"
    weight: float = 1.0
    ramp: str = "dann"


@dataclass
class MMDConfig(AlignmentConfig):
    weight: float = 50.0


@dataclass
class CORALConfig(AlignmentConfig):
    weight: float = 1000.0


@dataclass
class DANNConfig(AlignmentConfig):
    hidden: int = 256


@dataclass
class CDANConfig(DANNConfig):
    entropy: bool = True


@dataclass
class CCSAConfig(AlignmentConfig):
    target_labels: int = 5
    weight: float = 0.25
    ramp: str = "none"
    margin: float = 1.0


@dataclass
class DSNConfig(FewLabelsConfig):
    block: str = "features"
    reconstruction: float = 0.01
    difference: float = 0.075
    weight: float = 0.25
    similarity: str = "dann"
    similarity_from: int = 100
    hidden: int = 100


ADAPTATIONS: dict[str, type] = {
    "source_only": AdaptationConfig,
    "target_oracle": AdaptationConfig,
    "fine_tune": FineTuneConfig,
    "adabn": AdaptationConfig,
    "mmd": MMDConfig,
    "coral": CORALConfig,
    "dann": DANNConfig,
    "cdan": CDANConfig,
    "ccsa": CCSAConfig,
    "dsn": DSNConfig,
}
NEED_LABELS = ("fine_tune", "ccsa")  # methods that are nothing without labelled target images
# keys of `data` and `source` -> the values that ask for no cache
UNCACHED: dict[str, tuple[Any, ...]] = {
    "cache_prefix": ("auto", "off"),
    "cache_gib": (None,),
    "cache_dtype": ("float32",),
    "cached_views": (None,),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "adaptation.validator": ("last", "source_entropy"),
    "adaptation.ramp": ("none", "dann"),
    "adaptation.similarity": ("dann", "mmd"),
}
# key -> smallest value, and whether that value itself is allowed
MINIMA: dict[str, tuple[float, bool]] = {
    "adaptation.target_labels": (0, True),
    "adaptation.source_share": (0, False),
    "adaptation.weight": (0, True),
    "adaptation.hidden": (1, True),
    "adaptation.margin": (0, False),
    "adaptation.reconstruction": (0, True),
    "adaptation.difference": (0, True),
    "adaptation.similarity_from": (0, True),
}
# key -> the value that must not be reached
SUPREMA: dict[str, float] = {"adaptation.source_share": 1.0}
