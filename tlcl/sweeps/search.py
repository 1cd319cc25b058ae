"""What a sweep's launcher and a search are given: mistakes that Hydra's plugins would answer with a traceback."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from omegaconf import DictConfig, OmegaConf, open_dict

from tlcl.config.kinds import kind_of
from tlcl.config.parse import parse_config
from tlcl.config.unread import check_unread
from tlcl.errors import UserError
from tlcl.system.text import shown
from tlcl.tracking.sweep_records import settings_of


def without_hydra(config: DictConfig) -> DictConfig:
    """A sweep's config, or a job's, as `parse_config` takes it."""
    job = config.copy()
    OmegaConf.set_readonly(job, False)
    with open_dict(job):
        job.pop("hydra")
    return job


def check_launcher(config: DictConfig) -> None:
    """That as many jobs run at once as joblib understands: 1 or more, or -1 for as many as there are processors.

    Raises:
        UserError: they do not.
    """
    jobs = config.hydra.launcher.get("n_jobs", 1)
    if jobs is not None and (not isinstance(jobs, int) or jobs == 0):
        raise UserError(
            f"hydra.launcher.n_jobs={shown(jobs)} is no number of jobs; give 1 or more, or -1 for as many as there "
            "are processors"
        )


def check_search(config: DictConfig) -> None:
    """That a search has trials, proposals to choose from, and a validation figure to maximise.

    Raises:
        UserError: it has not.
    """
    sweeper = config.hydra.sweeper
    for key in ("n_trials", "n_jobs"):
        if sweeper.get(key, 1) is None or sweeper.get(key, 1) < 1:
            raise UserError(f"hydra.sweeper.{key}={shown(sweeper.get(key))} must be at least 1")
    direction = sweeper.get("direction", "maximize")
    if str(direction).rpartition(".")[2] != "maximize":
        raise UserError(
            f"hydra.sweeper.direction={shown(direction)}: a search maximises the validation figure of its runs; "
            "leave it out"
        )
    given, params = list(config.hydra.overrides.task), sweeper.get("params") or {}
    _searched(config)  # says which range is empty
    try:
        base = parse_config(without_hydra(config))
    except UserError as error:
        if any(key in str(error) for key in [*settings_of(given), *params]):
            return  # a key whose values the search proposes
        raise
    kind = kind_of(vars(base))
    if kind.validation is None or not kind.validated(base):
        raise UserError(
            "a search chooses by a validation figure, which comparisons, few_label_splits, continual runs with "
            "data.val_size=0, adaptation with source.val_size=0, and target_oracle, fine_tune and adabn do not "
            "have; search a single other method with val_size above 0"
        )


def check_search_read(config: DictConfig) -> None:
    """That something reads each key that is given to a search, whatever it proposes.

    Raises:
        UserError: nothing does.
    """
    check_unread(list(config.hydra.overrides.task), without_hydra(config), _searched(config))


def _searched(config: DictConfig) -> list[str]:
    """The keys that have several values.

    Raises:
        UserError: one has none between its ends.
    """
    params = config.hydra.sweeper.get("params") or {}
    proposed = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parser, keys = OverridesParser.create(), list[str]()
    for text in proposed:
        override = parser.parse_override(text)
        value, key = override.value(), override.get_key_element()
        if override.is_sweep_override():
            keys.append(key)
        if not isinstance(value, IntervalSweep | RangeSweep) or getattr(value, "shuffle", False):
            continue
        low, high = value.start, value.end if isinstance(value, IntervalSweep) else value.stop
        if isinstance(value, RangeSweep) and value.step <= 0:
            raise UserError(f"{shown(text)} goes by steps of {value.step}; give a step above 0")
        if low is None or high is None or low > high:
            raise UserError(f"{shown(text)} has nothing between its ends; give the smaller one first")
        if "log" in value.tags and low <= 0:
            raise UserError(f"{shown(text)} has no logarithms: {key} would begin at {low}; begin above 0")
    return keys
