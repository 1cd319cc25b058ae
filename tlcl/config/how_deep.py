"""The config keys of the question how deep to retrain."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Lt


@dataclass
class HowDeepConfig:
    """Which parts of the network are tried, and how long: see `tlcl.config.candidates` and `tlcl.jobs.how_deep`.

    Attributes:
        settings: what is tried beside the head alone: depths as of `thaw.depth`, `first`, `middle` and `norms`;
            empty: a choice of depths, and these three. Among equals the one named first is taken.
        folds: of the cross-validation.
        steps: of a training at least, however few images there are; those of `trainer.epochs` where they are more.
        race: whether a setting that cannot win any more is left out of the folds to come, and with few images a
            fold all but depths from the start.
        curve: shares of the labelled images in the learning curve, ascending; empty: no curve.
    """

    settings: list[str] = field(default_factory=list)
    folds: Annotated[int, Ge(2), Lt(21)] = 6
    steps: Annotated[int, Ge(1), Lt(1_000_000)] = 250
    race: bool = True
    curve: list[float] = field(default_factory=list)
