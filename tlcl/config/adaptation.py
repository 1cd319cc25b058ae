"""The config keys that methods of domain adaptation share: what a method's own dataclass derives from."""

from dataclasses import dataclass
from typing import Annotated, Self

from annotated_types import Ge

from tlcl.config.ranges import OneOf
from tlcl.errors import UserError

OF_THE_TARGET = ("target_oracle", "fine_tune")  # do not end as a network of the source


@dataclass
class AdaptationConfig:
    """Keys that every method has: which one, and which epoch's weights are tested (`tlcl.adaptation.validator`)."""

    name: str
    validator: Annotated[str, OneOf("last", "source_entropy")] = "last"

    def on(self, model: str) -> Self:
        """The same with what null means on a network, by its `model.name`."""
        return self


@dataclass
class FewLabelsConfig(AdaptationConfig):
    """A method that uses `target_labels` labelled target images a class; 0: none, the target is unlabelled."""

    target_labels: Annotated[int, Ge(0)] = 0


@dataclass
class WeightedConfig(FewLabelsConfig):
    """A method that adds a loss of its own with `weight`, which grows by `ramp`."""

    weight: Annotated[float, Ge(0)] = 1.0
    ramp: Annotated[str, OneOf("none", "dann")] = "dann"


@dataclass
class AlignmentConfig(WeightedConfig):
    """A method that aligns the outputs of `block` in both domains."""

    block: str = "features"


def check_labelled(config: FewLabelsConfig) -> None:
    """For a method that is nothing without labelled target images.

    Raises:
        UserError: it has none.
    """
    if config.target_labels == 0:
        raise UserError(
            f"adaptation={config.name} needs labelled target images; set adaptation.target_labels, images a class, "
            "to 1 or more"
        )
