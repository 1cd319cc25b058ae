"""Several methods with several seeds, a run directory each; one table, one plot of curves, one report."""

import logging
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from tlcl.config.parse import parse_config
from tlcl.config.registry import GROUPS
from tlcl.config.schema import Config, conf_dir
from tlcl.errors import Stopped, UserError
from tlcl.finetuning.trainer import settle
from tlcl.jobs.registry import finish
from tlcl.reports.render import render
from tlcl.reports.tables.compare import write_table
from tlcl.system.text import shown
from tlcl.tracking.kinds import Kind, kind_of, load
from tlcl.tracking.records import RunDirectory, recorded

log = logging.getLogger(__name__)


def family_of(composed: DictConfig) -> Kind:
    """The kind of job whose methods are compared: continual learning where there are tasks, else adaptation."""
    return kind_of({str(key): composed[key] for key in composed if key != "compare"})


def _group_file(group: str, name: str) -> Any:
    """What `group=name` composes: a file of conf/, or what a user's own file has registered."""
    path = conf_dir() / group / f"{name}.yaml"
    return OmegaConf.load(path) if path.is_file() else ConfigStore.instance().load(f"{group}/{name}.yaml").node


def method_group(text: str, family: Kind) -> dict[str, Any]:
    """The group that `NAME KEY=VALUE ...` stands for: NAME.yaml of the family's folder in conf/, with changes.

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
        merged = OmegaConf.merge(shipped, OmegaConf.from_dotlist(changes))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"compare.methods: {text!r} cannot be read: {str(error).splitlines()[0]}") from None
    return {str(key): value for key, value in OmegaConf.to_container(merged).items()}  # type: ignore[union-attr]


def run_name(text: str, seed: int) -> str:
    """The folder of one run: `er buffer_size=500`, 1 -> `er_buffer_size=500_seed1`, whatever the text."""
    return f"{'_'.join(text.split())}_seed{seed}".replace("%", "%25").replace("/", "%2F")


def children(composed: DictConfig, root: Path) -> list[tuple[str, int, DictConfig]]:
    """(method, seed, config) of each run, every config checked, so that a mistake in the last one shows at once.

    Raises:
        UserError: as `parse_config`; methods or seeds that are none, or given twice.
    """
    config = parse_config(composed.copy())
    assert config.compare is not None
    methods, seeds = [" ".join(text.split()) for text in config.compare.methods], config.compare.seeds
    for key, values in (("methods", methods), ("seeds", seeds)):
        if not values:
            raise UserError(f"compare.{key} is empty")
        twice = [value for index, value in enumerate(values) if value in values[:index]]
        if twice:
            raise UserError(f"compare.{key} has {shown(twice[0])} twice")
    runs, family = [], family_of(composed)
    for seed in seeds:
        for text in methods:
            child = composed.copy()
            child.pop("compare")
            assert family.methods is not None
            child[family.methods], child.seed = method_group(text, family), seed
            child.name = f"{config.name} {text}"
            child.run_dir = str(root / "runs" / run_name(text, seed))
            parse_config(child.copy())
            runs.append((text, seed, child))
    return runs


def _check_against_data(planned: list[tuple[str, int, DictConfig]]) -> None:
    """That each method fits the data; what could be wrong is the same for every seed.

    Raises:
        UserError: one does not.
    """
    first = planned[0][1]
    configs = [parse_config(child.copy()) for _, seed, child in planned if seed == first]
    load(f"{family_of(planned[0][2]).job}:check")(configs)


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run what is not finished yet, one after another; returns the summary.

    A run that stops with a loss that is not finite is named in the table; the others go on.
    """
    settle(config)
    composed = OmegaConf.create(recorded(config))
    planned = children(composed, directory.path)
    if not directory.begun:
        _check_against_data(planned)
    directory.begin(config)
    runs = [(text, seed, Path(child.run_dir)) for text, seed, child in planned]
    figures = family_of(composed).compared
    stopped: dict[str, str] = {}
    table: list[dict[str, Any]] = []
    bar = tqdm(planned, desc="compare", unit="run", disable=None if config.trainer.progress else True)
    for text, seed, child in bar:
        path = Path(child.run_dir)
        log.info("%s, seed %d", text, seed)
        try:
            why = finish(child, path)
        except Stopped as stop:
            raise stop.at(directory.path) from None
        if why is not None:
            stopped[path.name] = why
        table = write_table(directory.path, runs, figures)
    summary = {
        "status": "complete",
        "name": config.name,
        "job": "compare",
        "methods": table,
        "seeds": sorted({seed for _, seed, _ in planned}),
        "stopped": stopped,
    }
    directory.write_json("summary.json", summary)
    report = render(directory.path)
    log.info("report: %s", report)
    return summary
