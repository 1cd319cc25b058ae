"""From the `adaptation` group to a method."""

import torch

from tlcl.adaptation.methods.adabn import AdaBN
from tlcl.adaptation.methods.base import Method
from tlcl.adaptation.methods.ccsa import CCSA
from tlcl.adaptation.methods.cdan import CDAN
from tlcl.adaptation.methods.coral import CORAL
from tlcl.adaptation.methods.dann import DANN
from tlcl.adaptation.methods.dsn import DSN
from tlcl.adaptation.methods.fine_tune import FineTune
from tlcl.adaptation.methods.mmd import MMD
from tlcl.adaptation.methods.source_only import SourceOnly
from tlcl.adaptation.methods.target_oracle import TargetOracle
from tlcl.config.adaptation import AdaptationConfig
from tlcl.models.blocks import Blocks
from tlcl.seeding import derive_seed

METHODS: dict[str, type[Method]] = {
    "source_only": SourceOnly,
    "target_oracle": TargetOracle,
    "fine_tune": FineTune,
    "adabn": AdaBN,
    "mmd": MMD,
    "coral": CORAL,
    "dann": DANN,
    "cdan": CDAN,
    "ccsa": CCSA,
    "dsn": DSN,
}


def build_method(config: AdaptationConfig, net: Blocks, seed: int) -> Method:
    """The method that `config.name` names, in its state before the training; the same for equal `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "adaptation"))
        return METHODS[config.name](config, net)
