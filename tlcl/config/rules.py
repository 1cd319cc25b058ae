"""What goes together: rules between the keys of a config, each broken one a sentence."""

import math
from typing import Any

from tlcl.config.adaptation import OF_THE_TARGET, AdaptationConfig
from tlcl.config.candidates import candidates
from tlcl.config.registry import GROUPS
from tlcl.config.schema import Config, DataConfig, OptimConfig, TrainerConfig
from tlcl.config.stages import named_blocks
from tlcl.config.thaw import ThawSchedule
from tlcl.errors import UserError
from tlcl.system.text import shown

UNTAUGHT = ("none", "letters", "imagenet", "pretrained")  # weights that know none of the classes
LARGEST_RATE = 1_000_000  # of one block
LARGEST_EXPONENT = 38  # of 10, below what a number of 32 bits is at most
# keys of `data` and `source` -> the values that ask for no cache
UNCACHED: dict[str, tuple[Any, ...]] = {
    "cache_prefix": ("auto", "off"),
    "cache_gib": (None,),
    "cache_dtype": ("float32",),
    "cached_views": (None,),
}


def check_schedule(
    thaw: dict[str, Any], trainer: TrainerConfig, optim: OptimConfig, blocks: tuple[str, ...]
) -> None:
    """That the thaw schedule and the learning rates fit the epochs and the blocks."""
    schedule = ThawSchedule.from_config(thaw, trainer.epochs, blocks)
    late = [epoch for epoch in schedule.milestones if epoch >= trainer.epochs and epoch > 0]
    if late and thaw.get("depth") is None:
        raise UserError(
            f"thaw.{late[0]} comes after the last epoch; raise trainer.epochs={trainer.epochs} "
            f"above {late[0]}, drop the milestone with ~thaw.{late[0]}, or let the milestones move with the run: "
            f"thaw.of={late[-1] + 1}"
        )
    if "head" not in schedule.trainable(0) and optim.head == "new":
        raise UserError(
            f"thaw.blocks={shown(thaw['blocks'])} leaves out the head, which is new and would stay random; add "
            "head, or have it fitted first: optim.head=fitted"
        )
    for block, rate in optim.block_lr.items():
        named_blocks("optim.block_lr", block, schedule.order)
        if not 0 <= rate < LARGEST_RATE:
            raise UserError(f"optim.block_lr.{block}={rate} must be at least 0 and below {LARGEST_RATE:,}")
    most = math.log10(optim.lr) + (len(blocks) - 1) * max(0.0, math.log10(optim.block_lr_decay))
    if most >= LARGEST_EXPONENT:
        raise UserError(
            f"optim.lr={optim.lr} with optim.block_lr_decay={optim.block_lr_decay} is more than 32 bits hold; set "
            "a lower optim.lr"
        )
    if optim.warmup_epochs > trainer.epochs:
        raise UserError(
            f"optim.warmup_epochs={optim.warmup_epochs} is longer than trainer.epochs={trainer.epochs}"
        )


# keys of `data` -> the value that draws nothing, and how it is typed
DRAWN: dict[str, Any] = {"crop_padding": 0, "crop_area": None, "colour": 0.0}
NOTHING = {"crop_padding": "0", "crop_area": "null", "colour": "0"}


def closed_form(method: str) -> bool:
    """Whether a method of continual learning, by its name, has no gradient steps."""
    return bool(GROUPS["method"][method].thing.closed_form)


def check_cache(config: Config) -> None:
    """That the augmentation leaves something to cache where a cache is asked for; closed forms see no crops."""
    data = config.data
    drawn = [key for key, nothing in DRAWN.items() if getattr(data, key) != nothing]
    if data.cache_prefix not in ("ram", "disk"):
        return
    always = data.crop_head or config.schedule.trainable(0) != {"head"}
    stepless = config.method is not None and closed_form(config.method.name)
    if drawn and data.cached_views is None and always and not stepless:
        key = drawn[0]
        raise UserError(
            f"data.cache_prefix={data.cache_prefix} cannot hold what data.{key}={getattr(data, key)} draws anew in "
            f"every epoch; set data.cached_views=8 for as many fixed views, data.{key}={NOTHING[key]}, or "
            "data.cache_prefix=off"
        )
    if config.continual is None or not config.trainer.shared:
        return
    remedy = "trainer.strategy=auto" if config.trainer.processes == 1 else "trainer.devices=1"
    raise UserError(
        f"continual learning with data.cache_prefix={data.cache_prefix} works in one process of its own; set "
        f"{remedy}, or data.cache_prefix=off"
    )


def check_how_deep(config: Config) -> None:
    """That the question is asked of fine-tuning alone, from a fitted head."""
    assert config.depth is not None
    for group in ("continual", "method", "compare", "source", "adaptation"):
        if getattr(config, group) is not None:
            raise UserError(f"depth asks how deep to fine-tune, without {group}; leave out one of them")
    wrong = [share for share in config.depth.curve if not 0 < share < 1]
    if wrong:
        raise UserError(f"depth.curve has {shown(wrong[0])}; a share of the labels lies between 0 and 1")
    if config.schedule.trainable(0) != {"head"} or config.schedule.patience is not None:
        raise UserError("depth says what trains; set thaw=head_only, and choose by depth.settings")
    if config.optim.head == "new":
        raise UserError("depth compares with the fitted head; set optim.head=fitted")
    if config.trainer.shared:
        raise UserError("depth works in one process; set trainer.devices=1 and trainer.strategy=auto")
    candidates(config.depth.settings, config.model.block_names())
    check_finetuning(config)
    if config.model.lora or config.optim.ema or config.trainer.wise_ft < 1:
        raise UserError("depth compares plain trainings; set model.lora=0, optim.ema=0 and trainer.wise_ft=1")


def check_finetuning(config: Config) -> None:
    """That fine-tuning is given nothing that only other jobs have, and images to choose the checkpoint on."""
    _check_no_adaptation(config)
    _check_no_stream(config)
    for group in ("method", "compare"):
        if getattr(config, group) is not None:
            raise UserError(f"{group} needs tasks; add continual=class_incremental, or leave out {group}")
    if config.optim.head != "new" and config.trainer.shared:
        raise UserError(
            f"optim.head={config.optim.head} works in one process; set trainer.devices=1 and "
            "trainer.strategy=auto, or optim.head=new"
        )
    if config.trainer.wise_ft < 1 and config.optim.head == "new":
        raise UserError(
            f"trainer.wise_ft={config.trainer.wise_ft} needs a head that already answers before the training; set "
            "optim.head=fitted, or trainer.wise_ft=1"
        )
    if config.model.lora and config.optim.l2_sp:
        raise UserError(
            f"optim.l2_sp={config.optim.l2_sp} pulls weights that model.lora={config.model.lora} leaves as they "
            "are; leave one of them out"
        )
    if config.optim.ema and config.trainer.shared:
        raise UserError(
            f"optim.ema={config.optim.ema} works in one process; set trainer.devices=1 and trainer.strategy=auto, "
            "or optim.ema=0"
        )
    if config.optim.ema and config.schedule.patience is not None:
        raise UserError(
            f"thaw.patience={config.schedule.patience} takes weights back, and optim.ema={config.optim.ema} "
            "would average the later ones with others; set optim.ema=0, or thaw by epochs"
        )
    if config.optim.class_weights == "balanced" and config.data.balanced_batches:
        raise UserError(
            "optim.class_weights=balanced and data.balanced_batches=true both give every class the same say; "
            "leave one of them out"
        )
    if config.optim.head == "fitted" and config.schedule.patience is not None:
        raise UserError(
            f"thaw.patience={config.schedule.patience} would thaw by the images on which optim.head=fitted "
            "compares models; set optim.head=new, or thaw.patience=null"
        )
    if config.data.val_size == 0:
        raise UserError("data.val_size=0 leaves fine-tuning no images to choose the checkpoint on")


# What only fine-tuning has: key -> the value that other jobs have it at.
FINETUNING_ONLY: dict[str, Any] = {
    "optim.head": "new", "optim.label_smoothing": 0.0, "data.mixup": 0.0, "source.mixup": 0.0,
    "trainer.patience": None, "optim.class_weights": "none", "data.balanced_batches": False,
    "source.balanced_batches": False, "optim.l2_sp": 0.0, "optim.ema": 0.0, "model.lora": 0,
    "trainer.wise_ft": 1.0,
}  # fmt: skip


def _check_finetuning_only(config: Config) -> None:
    for key, only in FINETUNING_ONLY.items():
        group, _, name = key.partition(".")
        given = getattr(getattr(config, group), name, only)
        if given != only:
            raise UserError(f"{key}={given} is for fine-tuning alone; leave it out")
    if config.schedule.patience is not None:
        raise UserError(f"thaw.patience={config.schedule.patience} is for fine-tuning alone; leave it out")


def no_kept_head(weights: str) -> UserError:
    """The sentence for weights that are no run's."""
    return UserError(
        f"continual.head=kept needs model.weights=RUN_DIR, a finished run with the same classes, not {weights}"
    )


def check_continual(config: Config) -> None:
    """That a stream of tasks has one method, or several to compare, and settings that it can be trained with."""
    _check_no_adaptation(config)
    _check_finetuning_only(config)
    if config.method is None and config.compare is None:
        raise UserError("continual needs a method, e.g. method=naive, or several: compare=default")
    if config.method is not None and config.compare is not None:
        raise UserError(
            "give either method or compare; compare.methods names the methods itself, and ~method leaves out "
            "that of an experiment"
        )
    if config.continual is not None and config.continual.head == "kept" and config.model.weights in UNTAUGHT:
        raise no_kept_head(config.model.weights)
    if config.trainer.select != "last":
        raise UserError("in continual learning each task starts from the last weights; set trainer.select=last")
    if config.trainer.precision == "16-mixed":
        raise UserError(
            "trainer.precision=16-mixed scales the gradients that the methods read; "
            "use bf16-mixed or 32-true in continual learning"
        )


def _check_no_adaptation(config: Config) -> None:
    if config.adaptation is not None:
        raise UserError("adaptation needs a labelled source domain, e.g. data@source=rendered_digits")


def _check_no_stream(config: Config) -> None:
    for key, data in (("data", config.data), ("data@source", config.source)):
        if data is not None and data.source == "domain_stream":
            raise UserError(
                f"{key}=domain_stream is for continual learning, e.g. +experiment=continual_pacs; {key}=domains is "
                "one of the domains"
            )


def check_adaptation(config: Config) -> None:
    """That the optional groups of a job with a source domain fit each other.

    Raises:
        UserError: they do not; one sentence that names the key.
    """
    assert config.source is not None
    _check_no_stream(config)
    _check_finetuning_only(config)
    for group in ("continual", "method"):
        if getattr(config, group) is not None:
            raise UserError(f"{group} has no source domain; leave out {group}, or source")
    if (config.adaptation is None) == (config.compare is None):
        raise UserError(
            "source, the labelled domain, needs either adaptation, e.g. adaptation=dann, or compare=adaptation"
        )
    _check_one_device(config, "the domains are compared on one device")
    for key, unused in UNCACHED.items():
        if key != "cached_views" and getattr(config.source, key) not in unused:
            raise UserError(
                f"source.{key}={getattr(config.source, key)}: the outputs of both domains are kept as data.{key} "
                "says; set that"
            )
    if config.adaptation is not None:
        _check_method(config, config.adaptation)


def check_few_labels(config: Config) -> None:
    """That a job on ready-made splits with few target labels has methods, and no keys that the splits decide.

    Raises:
        UserError: it has not; one sentence that names the key.
    """
    _check_finetuning_only(config)
    for group in ("source", "continual", "method"):
        if getattr(config, group) is not None:
            raise UserError(f"data=few_label_splits is source and target in one; leave out {group}")
    if (config.adaptation is None) == (config.compare is None):
        raise UserError(
            "data=few_label_splits needs either one method, e.g. adaptation=ccsa, or several: compare=adaptation"
        )
    _check_one_device(config, "the splits are small")
    for key, only in (("train_size", None), ("val_size", 0)):
        if getattr(config.data, key) != only:
            raise UserError(f"data.{key}={getattr(config.data, key)}: the splits are as they are; leave it out")
    _check_uncached(config.data)
    if config.adaptation is not None:
        if config.adaptation.validator != "last":
            raise UserError(
                f"adaptation.validator={config.adaptation.validator}: the splits have no validation images; "
                "set adaptation.validator=last"
            )
        _check_method(config, config.adaptation)


def _check_one_device(config: Config, why: str) -> None:
    for key, only in (("devices", 1), ("num_nodes", 1), ("strategy", "auto")):
        given = getattr(config.trainer, key)
        if given != only:
            raise UserError(f"trainer.{key}={given}: {why}; set trainer.{key}={only}")


def _check_uncached(data: DataConfig) -> None:
    for key, unused in UNCACHED.items():
        if getattr(data, key) not in unused:
            raise UserError(
                f"data.{key}={getattr(data, key)} is for frozen blocks that are computed once; trainings on these "
                "splits compute them in every epoch: leave it out"
            )


def _check_method(config: Config, method: AdaptationConfig) -> None:
    """That the method of adaptation has what it needs, and that the tested epoch is chosen in one way."""
    wanted = "last" if method.validator == "last" else "best"
    if config.trainer.select != wanted:
        raise UserError(
            f"adaptation.validator={method.validator} needs trainer.select={wanted}, not {config.trainer.select}"
        )
    if method.validator == "source_entropy":
        if method.name in OF_THE_TARGET:
            raise UserError(
                f"{method.name} does not end as a network of the source, which source_entropy asks for; "
                "set adaptation.validator=last"
            )
        for group, data in (("source", config.source), ("data", config.data)):
            if data is not None and data.val_size == 0:
                raise UserError(f"{group}.val_size=0 leaves adaptation.validator=source_entropy no images")
