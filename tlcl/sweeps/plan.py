"""A sweep: its plan before the first job, what is said at its end, and resuming one that was stopped.

Hydra makes the jobs (`-m`); `tlcl.sweeps.job` runs one of them. Between the two stand the files of the sweep's
directory: `sweep.json` (the plan), `N/job.json` (what job N was given), `N/failed.json` (why it failed) and each
run's own records.
"""

import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tlcl.config.compose import hydra_sentence
from tlcl.config.flags import PRINTING, SWEEPING, given_flags
from tlcl.config.parse import parse_config
from tlcl.config.unread import unread
from tlcl.errors import TrainingError, UserError
from tlcl.extensions import run_extensions
from tlcl.quoting import as_text, quoted, typed
from tlcl.reports.paired import beside_chosen
from tlcl.reports.sweep import meaning, sentences, standing, write_sweep_report
from tlcl.reports.tables.sweep import chosen, rows_of
from tlcl.security.untrusted import check_command
from tlcl.sweeps.engine import MISTAKE
from tlcl.sweeps.search import check_launcher, check_search, check_search_read, without_hydra
from tlcl.system.figures import counted
from tlcl.system.files import atomic_write_text
from tlcl.system.folders import make_folders, remove_empty
from tlcl.system.paths import expanded
from tlcl.system.text import twice
from tlcl.tracking.data_record import SHARED, SHARED_LOCK, share_data
from tlcl.tracking.environment import environment
from tlcl.tracking.finished_run import COMPLETE, FAILED, FAILURE
from tlcl.tracking.records import read_object
from tlcl.tracking.sweep_records import JOB, SWEEP, failure_sentences, read_plan, read_sweep, settings_of, varying

log = logging.getLogger(__name__)
LAUNCHER = ("hydra/launcher", "hydra.launcher")
# What decides which jobs a sweep has; how many trials a search makes may change when it is resumed.
DECISIVE, COUNT = ("hydra/sweeper", "hydra.sweeper", "hydra.sweep.subdir"), "hydra.sweeper.n_trials"
_made: dict[Path, list[Path]] = {}  # the folders that this process made for a sweep's directory


def _grid(config: DictConfig) -> list[list[str]] | None:
    """The overrides of every job of Hydra's own sweeper; None where another sweeper proposes them one by one."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    sweeper = config.hydra.sweeper
    if not str(sweeper["_target_"]).endswith(".BasicSweeper"):
        return None
    given = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*given, *config.hydra.overrides.task]), None)
    return jobs


def planned(config: DictConfig, command: Sequence[str]) -> dict[str, Any]:
    """What `sweep.json` holds: the command, what decides the jobs, and the jobs themselves where they are known.

    Args:
        config: the sweep's composed config with its `hydra` node.
        command: the arguments of the command line, from which `+resume` makes the sweep again.
    """
    jobs = _grid(config)
    return {
        "name": Path(str(config.hydra.sweep.dir)).name,
        "command": list(command),
        "overrides": list(config.hydra.overrides.task),
        "hydra": [item for item in config.hydra.overrides.hydra if item.startswith(DECISIVE) and COUNT not in item],
        "extend": run_extensions(config.get("extend") or []),
        "planned": config.hydra.sweeper.get("n_trials", 0) if jobs is None else len(jobs),
        "keys": varying([settings_of(job) for job in jobs or []]),
        "jobs": jobs,
    }


def check(config: DictConfig, plan: dict[str, Any]) -> None:
    """That not every job has a mistake in its config: one that the whole sweep has is said once, before any runs.

    Raises:
        UserError: the first job's mistake, when no job is without one; a job that is there twice; see
            `check_launcher` and `check_search`.
    """
    check_launcher(config)
    if plan["jobs"] is None:
        check_search(config)
        return
    if again := twice(plan["jobs"]):
        raise UserError(f"the sweep has {' '.join(again[0])} twice; a run that is repeated tells nothing new")
    first: UserError | None = None
    for overrides in plan["jobs"]:
        try:
            parse_config(_composed(config, overrides))
            return
        except UserError as error:
            first = first or error
        except (HydraException, MissingConfigException, OmegaConfBaseException) as error:
            first = first or hydra_sentence(error)
    if first is not None:
        raise first


def _composed(config: DictConfig, overrides: list[str]) -> DictConfig:
    """A job's config."""
    return without_hydra(GlobalHydra.instance().config_loader().load_sweep_config(config, overrides))


def check_read(config: DictConfig, plan: dict[str, Any]) -> None:
    """That each key that is given is read by one job at least; a mistake in one is said by `check`.

    Raises:
        UserError: nothing reads it.
    """
    if plan["jobs"] is None:
        check_search_read(config)
        return
    nowhere: dict[str, str] | None = None
    for overrides in plan["jobs"]:
        try:
            found = unread(overrides, _composed(config, overrides))
        except (HydraException, MissingConfigException, OmegaConfBaseException):
            return
        by_key = {given.lstrip("+").partition("=")[0]: words for given, words in found.items()}
        nowhere = {key: words for key, words in by_key.items() if nowhere is None or key in nowhere}
        if not nowhere:
            return
    for sentence in (nowhere or {}).values():
        raise UserError(sentence)


def begin(config: DictConfig, command: Sequence[str]) -> Path:
    """Write the plan into the sweep's directory, or find it there; returns the directory.

    Raises:
        UserError: a mistake of the whole sweep; a directory that holds another sweep, or runs that are none.
    """
    root = Path(str(config.hydra.sweep.dir))
    if any(item.lstrip("+").startswith("run_dir=") for item in config.hydra.overrides.task):
        raise UserError("run_dir is of one run; give a sweep's directory by hydra.sweep.dir=FOLDER")
    try:
        plan = planned(config, command)
        check(config, plan)
        stored, begun = read_plan(root), any(root.glob("**/config.yaml"))
        if stored is None or not begun:  # one that has begun may have keys of before
            check_read(config, plan)
    except HydraException as error:
        raise hydra_sentence(error) from None
    if stored is None and begun:
        raise UserError(f"hydra.sweep.dir={root} already holds runs, but no {SWEEP}; choose another directory")
    if stored is not None and any(stored.get(key) != plan[key] for key in ("overrides", "hydra")):
        if begun:
            given = shlex.join([*stored.get("overrides", []), *stored.get("hydra", [])])
            again = typed("+resume", root)
            raise UserError(
                f"hydra.sweep.dir={root} holds another sweep ({given}); resume that with {again}, or choose "
                "another directory"
            )
        for old in [*root.rglob(JOB), *root.rglob(FAILED)]:  # of a sweep in which no job began
            old.unlink()
    try:
        _made[root] = make_folders(root)
        atomic_write_text(root / SWEEP, json.dumps(plan, indent=2) + "\n")
        share_data(root)
    except OSError as error:
        raise UserError(f"hydra.sweep.dir={root} cannot be written: {error.strerror or error}") from None
    about = environment(int(config.seed))
    about.pop("seed")  # each job has its own
    atomic_write_text(root / "environment.json", json.dumps(about, indent=2) + "\n")
    return root


def _take_away(root: Path) -> bool:
    """Take away a sweep that this process made a folder for, when none of its runs began; whether it has.

    Nothing but what sweeps write goes.
    """
    made = _made.pop(root, [])
    if root not in made or any(root.rglob("config.yaml")):
        return False
    for name in (JOB, FAILED):
        for path in list(root.rglob(name)):
            path.unlink()
            inner = [folder for folder in path.parents if root in folder.parents]
            remove_empty(inner[::-1])
    for name in (SWEEP, SHARED, SHARED_LOCK, "environment.json", "multirun.yaml", "optimization_results.yaml"):
        (root / name).unlink(missing_ok=True)
    remove_empty(made)
    return True


def conclude(root: Path) -> None:
    """Write the sweep's report and say which jobs failed; nothing stays where no run began by mistakes of the user.

    Raises:
        UserError: some failed, all by mistakes of the user (exit code 2).
        TrainingError: some failed, not all of them so, or never began (exit code 1).
    """
    sweep = read_sweep(root)
    failed = [job for job in sweep.jobs if job.status == FAILURE]
    kinds = {read_object(root / job.path / FAILED).get("kind") for job in failed if job.path}
    for sentence in failure_sentences(sweep):
        log.warning("failed: %s", sentence)
    if len(failed) == sweep.planned and kinds == {MISTAKE} and _take_away(root):
        what = "the only job" if sweep.planned == 1 else f"all {sweep.planned} jobs"
        raise UserError(f"{what} failed; put that right and give the same command again")
    report = write_sweep_report(root)
    rows = rows_of(sweep.jobs, sweep.keys)
    tested = standing(rows, beside_chosen(root, rows, chosen(rows)))
    for line in [*sentences(rows, *meaning(sweep)), *tested]:
        log.info("%s", line)
    done = sum(job.status == COMPLETE for job in sweep.jobs)
    log.info("%d of %s complete", done, counted(sweep.planned, "job"))
    log.info("report: %s", report)
    if done == sweep.planned:
        return
    what = f"{len(failed)} of {counted(sweep.planned, 'job')} failed"
    left = sweep.planned - done - len(failed)
    if left:
        what += f", {left} did not end"
    sentence = f"{what}; try them again with {typed('+resume', root)}"
    raise UserError(sentence) if kinds == {MISTAKE} and not left else TrainingError(sentence)


def resumed_command(arguments: Sequence[str]) -> list[str]:
    """The arguments that `+resume=DIR` stands for when DIR is a sweep's; others as they are.

    A launcher given beside it takes the place of the sweep's own: how the jobs are run changes nothing in them.

    Raises:
        UserError: anything else is given beside it.
    """
    named = [item for item in arguments if item.startswith("+resume=")]
    root = expanded(_value_of(named[0]), "+resume") if named else Path()
    plan = read_plan(root) if named else None
    if named:
        _check_beside(arguments, root, plan is not None)
    if plan is None:
        return list(arguments)
    beside = [item for item in arguments if item not in named]
    launcher = [item for item in beside if item.startswith((*LAUNCHER, COUNT))]
    ours = ("extend=", "-m", "--multirun")  # extend, to allow the sweep's own files again
    other = [item for item in beside if item not in [*launcher, *plan["command"]] and not item.startswith(ours)]
    if other:
        raise UserError(f"+resume takes the sweep's own settings; leave out {' '.join(other)}")
    replaced = ["hydra.sweep.dir=", "extend="]
    for group in (LAUNCHER, (COUNT,)):
        if any(item.startswith(group) for item in launcher):
            replaced += group
    kept = [item for item in plan["command"] if not item.startswith(tuple(replaced))]
    check_command(kept, beside, root)
    own = [as_text(item) for item in run_extensions(plan.get("extend", []))]
    extend = [f"extend=[{','.join(own)}]"] if own else []
    return [*kept, *extend, *launcher, quoted("hydra.sweep.dir", str(root))]


def _check_beside(arguments: Sequence[str], root: Path, whole_sweep: bool) -> None:
    """That no flag is given with which a run or a sweep is not resumed."""
    flags = given_flags(arguments)
    if printed := sorted(flags.intersection(PRINTING)):
        file = root / (SWEEP if whole_sweep else "config.yaml")
        raise UserError(f"{printed[0]} prints what a command composes; what +resume takes up is in {file}")
    if flags.intersection(SWEEPING) and not whole_sweep and (root / "config.yaml").is_file():
        raise UserError(f"-m is of sweeps, and {root} is one run; leave out -m")


def _value_of(argument: str) -> str:
    """What Hydra reads in KEY=TEXT; the text as it is where it cannot read it, which is said elsewhere."""
    try:
        return str(OverridesParser.create().parse_override(argument).value())
    except HydraException:
        return argument.partition("=")[2]
