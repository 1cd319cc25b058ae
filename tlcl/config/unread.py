"""Keys that are given on the command line and that nothing reads beside what else is chosen.

Not a rule of a config: records of runs of before have some of them, and those must go on being read.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from tlcl.config.registry import GROUPS
from tlcl.config.rules import DRAWN, FINETUNING_ONLY, closed_form
from tlcl.config.thaw import THAW_KEYS
from tlcl.errors import UserError
from tlcl.system.text import shown

SHORT = 40  # letters of a value that is said as it is
FOR_FINETUNING = "is for fine-tuning alone"


@dataclass(frozen=True)
class Unread:
    """Keys, what nothing reads them beside, and why.

    Attributes:
        keys: with all that is below them.
        decided: keys whose values, or those of keys below them, decide it.
    """

    keys: tuple[str, ...]
    beside: Callable[[DictConfig], bool]
    why: str
    decided: tuple[str, ...] = ()


def _asks_depth(composed: DictConfig) -> bool:
    return composed.get("depth") is not None


def _few_labels(composed: DictConfig) -> bool:
    return OmegaConf.select(composed, "data.source") == "few_label_splits"


def _sgd(composed: DictConfig) -> bool:
    """Whether a run has it, or one that is compared."""
    compared = OmegaConf.select(composed, "compare.methods") or []
    names = [OmegaConf.select(composed, "optim.name"), *(word for text in compared for word in str(text).split())]
    return "sgd" in names or "optim.name=sgd" in names


def _draws_nothing(composed: DictConfig) -> bool:
    return all(OmegaConf.select(composed, f"data.{key}", default=none) == none for key, none in DRAWN.items())


def _closed_form(composed: DictConfig) -> bool:
    """Whether the one method of a stream of tasks has no gradient steps."""
    name = OmegaConf.select(composed, "method.name")
    return name in GROUPS["method"] and closed_form(name)


def _fitted_head_alone(composed: DictConfig) -> bool:
    """Whether the head is fitted in closed form, and no block may train besides."""
    alone = _thaws_the_head_alone(composed.get("thaw") or {})
    return alone and OmegaConf.select(composed, "optim.head") in ("fitted", "lp_ft") and not _asks_depth(composed)


def _thaws_the_head_alone(thaw: Mapping[Any, Any]) -> bool:
    if thaw.get("patience") is not None:  # blocks thaw by events
        return False
    if thaw.get("blocks") is not None:
        said = [thaw["blocks"]]
    elif thaw.get("depth") is not None:
        said = [thaw["depth"]]
    else:
        said = [value for key, value in thaw.items() if key not in THAW_KEYS and value is not None]
    return bool(said) and all(one in (0, "0", "head", ["head"], []) for one in said)


STEPS = (
    "trainer.epochs", "trainer.patience", "trainer.select", "optim.name", "optim.lr", "optim.block_lr_decay",
    "optim.block_lr", "optim.momentum", "optim.weight_decay", "optim.schedule", "optim.warmup_epochs",
    "optim.label_smoothing", "optim.l2_sp", "optim.ema", "optim.batch_norm",
)  # fmt: skip
HEAD_ALONE = (*STEPS, "trainer.monitor", "trainer.wise_ft", "data.mixup", "thaw.only")
RULED = ("trainer.select", *FINETUNING_ONLY)  # what a stream of tasks has at one value, which rules ask for
UNREAD = (
    Unread(
        (*(key for key in STEPS if key not in RULED), "thaw"),
        _closed_form,
        "is of methods that train; this one is a closed form on the frozen network",
        ("method", "method.name"),
    ),
    Unread(
        tuple(f"data.{key}" for key in DRAWN),
        lambda composed: _closed_form(composed) and not _draws_nothing(composed),
        "is of methods that train; this one sees each image once, as it is",
        ("method", "method.name"),
    ),
    Unread(
        HEAD_ALONE,
        _fitted_head_alone,
        "is of a training; optim.head fits the head in closed form, and thaw lets nothing train besides",
        ("optim.head", "thaw"),
    ),
    Unread(
        ("trainer.monitor",),
        lambda composed: any(composed.get(group) is not None for group in ("continual", "source")),
        FOR_FINETUNING,
    ),
    Unread(
        ("trainer.monitor", "trainer.patience", "trainer.select"),
        _asks_depth,
        "says how one run chooses its epoch; depth compares the last epochs of many",
    ),
    Unread(("keep",), _asks_depth, "says what is kept of a run; depth keeps no model"),
    Unread(
        ("logger",),
        lambda composed: _asks_depth(composed) and OmegaConf.select(composed, "logger.name") != "none",
        "is of runs; the answer of depth is its page and summary.json, which no logger is given",
    ),
    Unread(("adaptation.target_labels",), _few_labels, "is what each of the splits decides"),
    Unread(
        ("optim.momentum",),
        lambda composed: not _sgd(composed),
        "is of optim.name=sgd",
        ("optim.name",),
    ),
    Unread(
        ("model.lora_alpha",),
        lambda composed: OmegaConf.select(composed, "model.lora") == 0,
        "scales the matrices of model.lora, of which there are none",
        ("model.lora",),
    ),
    Unread(
        ("adaptation.hidden",),
        lambda composed: OmegaConf.select(composed, "adaptation.similarity") == "mmd",
        "is the width of the discriminator of adaptation.similarity=dann",
        ("adaptation.similarity",),
    ),
    Unread(
        ("data.cached_views",),
        _draws_nothing,
        "is how many of the views that data.crop_padding, data.crop_area and data.colour draw are kept, and they "
        "draw none",
        tuple(f"data.{key}" for key in DRAWN),
    ),
)


def _given(argument: str) -> list[tuple[str, str]]:
    """The keys that an argument gives values other than null, with those: of a mapping the keys in it."""
    key, _, value = argument.lstrip("+").partition("=")
    if value.lstrip().startswith("{"):
        return _inside(key, OverridesParser.create().parse_override(argument).value())
    return [] if value in ("", "null") else [(key, value)]


def _inside(key: str, value: Any) -> list[tuple[str, str]]:
    """The keys at the ends of a mapping that are not null."""
    if not isinstance(value, dict):
        return [] if value is None else [(key, str(value))]
    return [end for inner, one in value.items() for end in _inside(f"{key}.{inner}", one)]


def _below(key: str, keys: Collection[str]) -> bool:
    """Whether it is one of the keys, or below one."""
    return any(key == one or key.startswith(f"{one}.") for one in keys)


def unread(arguments: Sequence[str], composed: DictConfig, searched: Collection[str] = ()) -> dict[str, str]:
    """Argument -> sentence, of those whose keys nothing reads.

    Args:
        searched: keys whose values are not known yet; what they decide may be read.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        if argument.startswith(("-", "~")):
            continue
        for key, value in _given(argument):
            for one in UNREAD:
                decided = any(_below(name, one.decided) for name in searched)
                if _below(key, one.keys) and not decided and one.beside(composed):
                    given = value if len(value) < SHORT else shown(value)
                    found.setdefault(argument, f"{key}={given} {one.why}; leave it out")
    return found


def check_unread(arguments: Sequence[str], composed: DictConfig, searched: Collection[str] = ()) -> None:
    """That something reads each key that is given.

    Raises:
        UserError: nothing does.
    """
    for sentence in unread(arguments, composed, searched).values():
        raise UserError(sentence)
