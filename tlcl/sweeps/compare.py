"""Several methods with several seeds, a run directory each; one table, one plot of curves, one report."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlcl.config.kinds import Kind, compared_kind, load
from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.config.schema import Config, conf_dir
from tlcl.errors import UserError
from tlcl.finetuning.trainer import choose_device
from tlcl.jobs.pretrain import check_weights
from tlcl.reports.compare import COLUMNS, gaps_closed, verdict_of
from tlcl.reports.tables.aligned import aligned
from tlcl.reports.tables.compare import write_table
from tlcl.sweeps.engine import PlannedRun, conclude_job, run_plan
from tlcl.system.text import shown, twice
from tlcl.tracking.records import RunDirectory, config_record
from tlcl.tracking.wandb import check_key

log = logging.getLogger(__name__)


def _group_file(group: str, name: str) -> Any:
    """What `group=name` composes: a file of conf/, or what a user's own file has registered."""
    path = conf_dir() / group / f"{name}.yaml"
    return OmegaConf.load(path) if path.is_file() else ConfigStore.instance().load(f"{group}/{name}.yaml").node


OPTIM = "optim."


def method_group(text: str, family: Kind) -> dict[str, Any]:
    """The group that `NAME KEY=VALUE ...` stands for: NAME.yaml of the family's folder in conf/, with changes.

    Changes of `optim.KEY` are no keys of the group, see `optim_changes`.

    Raises:
        UserError: no such method, or something that is no KEY=VALUE.
    """
    assert family.methods is not None
    name, *changes = text.split() or [""]
    names = GROUPS[family.methods]
    if name not in names:
        raise UserError(f"compare.methods names {name!r}; the methods are {', '.join(names)}")
    wrong = [change for change in changes if "=" not in change or change.startswith("=")]
    if wrong:
        raise UserError(f"compare.methods: {wrong[0]!r} in {text!r} is no KEY=VALUE, e.g. 'er buffer_size=500'")
    if any(change.startswith("name=") for change in changes):
        raise UserError(f"compare.methods: {text!r} changes the name; write the method's own name in its place")
    try:
        shipped = _group_file(family.methods, name)
        own = [change for change in changes if not change.startswith(OPTIM)]
        unknown = [change for change in own if re.split(r"[.\[=]", change)[0] not in shipped]
        if unknown:
            keys = ", ".join(sorted(str(key) for key in shipped if key != "name")) or "no keys"
            raise UserError(f"compare.methods: {unknown[0]!r} in {text!r}: {name} has {keys}, and optim.KEY")
        merged = OmegaConf.merge(shipped, OmegaConf.from_dotlist(own))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"compare.methods: {text!r} cannot be read: {str(error).splitlines()[0]}") from None
    return {str(key): value for key, value in OmegaConf.to_container(merged).items()}  # type: ignore[union-attr]


def optim_changes(text: str) -> DictConfig:
    """The optimizer's keys that `NAME KEY=VALUE ...` gives to this method alone, as `optim.lr=0.1`.

    Raises:
        UserError: something that is no value.
    """
    try:
        return OmegaConf.from_dotlist([change for change in text.split()[1:] if change.startswith(OPTIM)])
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"compare.methods: {text!r} cannot be read: {str(error).splitlines()[0]}") from None


def _tested_epoch(group: Mapping[str, Any], text: str) -> DictConfig:
    """`trainer.select` of a method whose text names its validator, so that both ways stand beside each other."""
    named = any(change.startswith("validator=") for change in text.split()[1:])
    select = "last" if group.get("validator") == "last" else "best"
    return OmegaConf.create({"trainer": {"select": select}} if named else {})


def run_name(text: str, seed: int) -> str:
    """The folder of one run: `er buffer_size=500`, 1 -> `er_buffer_size=500_seed1`, whatever the text."""
    return f"{'_'.join(text.split())}_seed{seed}".replace("%", "%25").replace("/", "%2F")


def children(config: Config, root: Path, weight: float = 1.0) -> list[PlannedRun]:
    """The run of each method with each seed, every config checked, so that a mistake in the last one shows at once.

    Raises:
        UserError: as `parse_config`; methods or seeds that are none, or given twice.
    """
    assert config.compare is not None
    methods, seeds = [" ".join(text.split()) for text in config.compare.methods], config.compare.seeds
    for key, values in (("methods", methods), ("seeds", seeds)):
        if not values:
            raise UserError(f"compare.{key} is empty")
        if again := twice(values):
            raise UserError(f"compare.{key} has {shown(again[0])} twice")
    runs, family = [], compared_kind(vars(config))
    assert family.methods is not None
    for seed in seeds:
        for text in methods:
            path = root / "runs" / run_name(text, seed)
            own = {"name": f"{config.name} {text}", "seed": seed, "run_dir": str(path), "compare": None}
            group = method_group(text, family)
            record = {**config_record(config), **own, family.methods: group}
            changed = OmegaConf.merge(record, optim_changes(text), _tested_epoch(group, text))
            assert isinstance(changed, DictConfig)
            child = parse_config(changed)
            runs.append(PlannedRun(path, child, {"method": text, "seed": seed}, weight))
    return runs


def _check_beginning(family: Kind, plan: Sequence[PlannedRun]) -> None:
    """That each method fits the data, and the weights the model; what could be wrong is the same for every seed.

    Raises:
        UserError: one does not.
    """
    first = [run.config for run in plan if run.settings["seed"] == plan[0].settings["seed"]]
    check_key(plan[0].config)
    load(f"{family.job}:check")(first)
    check_weights(plan[0].config)


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run what is not finished yet, `compare.jobs` at once; returns the summary.

    A run that stops with a loss that is not finite is named in the summary; the others go on.

    Raises:
        UserError, TrainingError: see `conclude_job`.
    """
    root, family = directory.path, compared_kind(vars(config))
    assert config.compare is not None
    choose_device(config)
    plan = children(config, root)
    if not directory.begun:
        _check_beginning(family, plan)
    directory.begin(config)
    (root / "summary.json").unlink(missing_ok=True)  # of a time when some failed
    rows = run_plan(
        root, plan, "compare", jobs=config.compare.jobs, progress=config.trainer.progress,
        after=lambda rows: write_table(root, rows, family.compared),
    )  # fmt: skip
    table = write_table(root, rows, family.compared)
    log.info("%s", aligned(table, COLUMNS, gaps_closed(root, table)))
    if words := verdict_of(root):
        log.info("%s", words)
    about = {"name": config.name, "job": "compare", "methods": table, "seeds": sorted(config.compare.seeds)}
    return conclude_job(directory, plan, rows, about)
