"""From a composed Hydra config to the typed, checked dataclasses of the schema; a mistake is one sentence."""

import difflib
import math
from dataclasses import fields, is_dataclass
from typing import Any, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
)

from tlcl.config.rules import check_cache, check_job
from tlcl.config.schema import (
    CHOICES,
    LATER,
    MINIMA,
    OPTIONAL,
    PLAIN,
    SUPREMA,
    VARIANTS,
    WHOLE,
    Config,
    conf_dir,
)
from tlcl.errors import UserError
from tlcl.extensions import settle
from tlcl.security.secrets import leaves, refuse_reads, refuse_values
from tlcl.system.paths import expanded
from tlcl.system.text import shown

PATHS = ("data.", "source.", "model.")  # groups in which a text may be a path


def known_keys() -> list[str]:
    """Every dotted key of every variant, for suggestions."""
    keys = [item.name for item in fields(Config)]
    for group, schema in PLAIN.items():
        keys += [f"{group}.{item.name}" for item in fields(schema)]
    for group, (_, variants) in VARIANTS.items():
        keys += [f"{group}.{item.name}" for schema in variants.values() for item in fields(schema)]
    return sorted({*keys, "thaw.depth", "resume"})


def unknown_key(key: str) -> UserError:
    """The sentence for a key that does not exist, with the nearest one that does."""
    group, dot, _ = key.partition(".")
    if key in ("resume", "experiment"):
        return UserError(f"{key} is given with a plus: +{key}=VALUE")
    if dot and key in known_keys():
        return UserError(
            f"{key} does not go with the present choice of {group}; leave it out, or choose another {group}"
        )
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"see {conf_dir()} for the keys there are"
    return UserError(f"there is no config key '{key}'; {hint}")


def _typed(group: str, schema: type, values: Any) -> Any:
    """Merge `values` into the dataclass `schema`, or say which key is unknown, missing or of the wrong type."""
    if not OmegaConf.is_dict(values):
        raise UserError(f"'{group}' must be a group of keys, not {shown(values)}; see {conf_dir()}")
    names = {item.name for item in fields(schema)}
    for key in values:
        if key not in names:
            raise unknown_key(f"{group}.{key}")
    missing = sorted(names - set(values))
    if missing:
        raise UserError(f"the config lacks {', '.join(f'{group}.{name}' for name in missing)}")
    blank = [key for key in values if OmegaConf.is_missing(values, key)]
    if blank:
        raise UserError(f"{group}.{blank[0]} must be given, e.g. {group}.{blank[0]}=VALUE")
    hints, structured = get_type_hints(schema), OmegaConf.structured(schema)
    for key in values:
        wanted = hints[key].__name__ if type(hints[key]) is type else str(hints[key])
        what = f"{group}.{key}={shown(values[key])}"
        wrong = UserError(f"{what} is no value of type {wanted.replace('None', 'null')}")
        # OmegaConf would take any number for true.
        if hints[key] is bool and not isinstance(values[key], bool):
            raise wrong
        try:
            structured[key] = values[key]
            typed = OmegaConf.to_container(structured[key]) if OmegaConf.is_config(structured[key]) else None
        except (ConfigKeyError, ConfigAttributeError) as error:
            raise unknown_key(str(error.full_key or f"{group}.{key}")) from None
        except OmegaConfBaseException:
            raise wrong from None
        except OverflowError:  # a whole number in the place of a float
            raise UserError(f"{what} must be a finite number") from None
        # OmegaConf takes a container for an item of any type.
        items = typed if isinstance(typed, list) else typed.values() if isinstance(typed, dict) else ()
        if hints[key] is not Any and any(isinstance(item, list | dict) for item in items):
            raise wrong
    return schema(**cast(dict[str, Any], OmegaConf.to_container(structured)))


def _check_ranges(config: Any, prefix: str = "") -> None:
    for item in fields(config):
        key, value = f"{prefix}{item.name}", getattr(config, item.name)
        if is_dataclass(value):
            _check_ranges(value, f"{key}.")
            continue
        rule = f"data.{item.name}" if prefix == "source." else key
        if rule in CHOICES and value not in CHOICES[rule]:
            raise UserError(f"{key}={shown(value)} is not one of {', '.join(map(str, CHOICES[rule]))}")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                _check_text(key, one)
            elif isinstance(one, int | float) and not isinstance(one, bool):
                _check_number(key, rule, one)


def _check_number(key: str, rule: str, value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value} must be a finite number")
    if rule in MINIMA:
        least, allowed = MINIMA[rule]
        if not (value >= least if allowed else value > least):
            bound = "at least" if allowed else "greater than"
            raise UserError(f"{key}={shown(value)} must be {bound} {least:g}")
    most = SUPREMA.get(rule, WHOLE if isinstance(value, int) else math.inf)
    if not value < most:
        raise UserError(f"{key}={shown(value)} must be less than {most:,}")


def _check_text(key: str, value: str) -> None:
    if "\0" in value:
        raise UserError(f"{key}={shown(value)} holds a null character, which no name of a file has")
    if key.startswith(PATHS):
        expanded(value, key)






def _own_files(composed: DictConfig) -> list[str]:
    """Run the user's own files that `extend` names, so that what they add is known; writes their hashes."""
    given = composed.get("extend")
    if given is None:  # runs from before there was such a key
        return []
    if not OmegaConf.is_list(given) or not all(isinstance(item, str) for item in given):
        raise UserError(f"extend={shown(given)} must be a list of files, e.g. 'extend=[my_method.py]'")
    composed.extend = settle(given)
    return list(composed.extend)


def _resolves(composed: DictConfig, key: str) -> bool:
    try:
        OmegaConf.select(composed, key)
    except (OmegaConfBaseException, RecursionError):
        return False
    return True


def parse_config(composed: DictConfig) -> Config:
    """Check a composed config and return it typed, with `~` expanded in paths.

    The files of `extend` run, and their hashes are written into `composed`, for the record.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type or out of range, an impossible thaw
            schedule; one sentence that names the key.
    """
    refuse_reads(OmegaConf.to_container(composed))
    try:
        OmegaConf.resolve(composed)
    except (OmegaConfBaseException, RecursionError) as error:
        keys = [key for key, _ in leaves(OmegaConf.to_container(composed)) if not _resolves(composed, key)]
        where = keys[0] if keys else "the config"
        raise UserError(f"{where} cannot be resolved: {str(error).partition(chr(10))[0]}") from None
    refuse_values(OmegaConf.to_container(composed))
    top = {item.name for item in fields(Config)}
    for key in composed:
        if key not in top:
            raise unknown_key(str(key))
    missing = sorted(name for name in top if name not in composed and name not in OPTIONAL)
    if missing:
        raise UserError(f"the config lacks {', '.join(missing)}")

    values: dict[str, Any] = {"extend": _own_files(composed)}
    for key, default in LATER.items():
        group, _, name = key.partition(".")
        if OmegaConf.is_dict(composed.get(group)) and name not in composed[group]:
            composed[group][name] = default
    for group, schema in PLAIN.items():
        if composed.get(group) is not None or group not in OPTIONAL:
            values[group] = _typed(group, schema, composed[group])
    for group, (selector, variants) in VARIANTS.items():
        if group in OPTIONAL and composed.get(group) is None:
            continue
        chosen = composed[group].get(selector) if OmegaConf.is_dict(composed[group]) else None
        if not isinstance(chosen, str) or chosen not in variants:
            raise UserError(f"{group}.{selector}={shown(chosen)} is not one of {', '.join(variants)}")
        values[group] = _typed(group, variants[chosen], composed[group])
    for key, kind in (("name", str), ("seed", int), ("run_dir", str), ("cache_dir", str)):
        if not isinstance(composed[key], kind) or isinstance(composed[key], bool):
            raise UserError(f"{key}={shown(composed[key])} is no value of type {kind.__name__}")
        values[key] = composed[key]
    for key in ("run_dir", "cache_dir"):
        values[key] = str(expanded(values[key], key))
    if not OmegaConf.is_dict(composed.thaw):
        raise UserError("'thaw' must map epochs to blocks, e.g. {0: [head], 15: [layer4]}")
    values["thaw"] = {str(key): value for key, value in cast(dict, OmegaConf.to_container(composed.thaw)).items()}
    if len(values["thaw"]) < len(composed.thaw):
        raise UserError("thaw names one epoch twice, once as a number and once in quotes; keep one of them")

    config = Config(**values)
    _check_ranges(config)
    check_job(config)
    check_cache(config)
    schedule = config.schedule
    late = [epoch for epoch in schedule.milestones if epoch >= config.trainer.epochs and epoch > 0]
    if late and config.thaw.get("depth") is None:
        raise UserError(
            f"thaw.{late[0]} comes after the last epoch; raise trainer.epochs={config.trainer.epochs} "
            f"above {late[0]} or drop the milestone with ~thaw.{late[0]}"
        )
    unknown = sorted(set(config.optim.block_lr) - set(schedule.order))
    if unknown:
        raise UserError(f"optim.block_lr names {unknown[0]!r}; the blocks are {', '.join(schedule.order)}")
    for block, rate in config.optim.block_lr.items():
        if not 0 <= rate < math.inf:
            raise UserError(f"optim.block_lr.{block}={rate} must be a finite number, at least 0")
    if config.optim.warmup_epochs > config.trainer.epochs:
        raise UserError(
            f"optim.warmup_epochs={config.optim.warmup_epochs} is longer than "
            f"trainer.epochs={config.trainer.epochs}"
        )
    return config
