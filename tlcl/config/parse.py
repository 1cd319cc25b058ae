"""From a composed Hydra config to the typed, checked dataclasses of the schema; a mistake is one sentence."""

import difflib
import re
from dataclasses import fields
from typing import Any, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
)

from tlcl.config.kinds import kind_of
from tlcl.config.ranges import check_value, limits
from tlcl.config.registry import GROUPS
from tlcl.config.rules import check_cache, check_schedule
from tlcl.config.schema import LATER, OPTIONAL, PLAIN, Config, conf_dir
from tlcl.config.thaw import THAW_KEYS
from tlcl.errors import UserError
from tlcl.extensions import run_extensions
from tlcl.security.secrets import leaves, refuse_reads, refuse_values
from tlcl.system.paths import expanded
from tlcl.system.text import shown

PATHS = ("data.", "source.", "model.")  # groups in which a text may be a path


def known_keys() -> list[str]:
    """Every dotted key, for suggestions: from the files of conf/, since those of the choices wait for torch."""
    keys = {item.name for item in fields(Config)} | {f"thaw.{key}" for key in THAW_KEYS} | {"resume"}
    for group, schema in PLAIN.items():
        keys |= {f"{group}.{item.name}" for item in fields(schema)}
    for group, choices in GROUPS.items():
        files = (conf_dir() / ("data" if group == "source" else group)).glob("*.yaml")
        names = {name for file in files for name in re.findall(r"(?m)^(\w+):", file.read_text("utf-8"))}
        names |= {item.name for choice in choices.known.values() for item in fields(choice.keys)}
        keys |= {f"{group}.{name}" for name in names - {"defaults"}}
    return sorted(keys)


def unknown_key(key: str) -> UserError:
    """The sentence for a key that does not exist, with the nearest one that does."""
    group, dot, _ = key.partition(".")
    if key in ("resume", "experiment"):
        return UserError(f"{key} is given with a plus: +{key}=VALUE")
    if key.startswith("optim.block_lr"):
        block = key.removeprefix("optim.block_lr").removeprefix(".") or "layer4"
        return UserError(f"the rate of a block is given with a plus: +optim.block_lr.{block}=0.001")
    if dot and key in known_keys():
        return UserError(
            f"{key} does not go with the present choice of {group}; leave it out, or choose another {group}"
        )
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"see {conf_dir()} for the keys there are"
    return UserError(f"there is no config key '{key}'; {hint}")


def _typed(group: str, schema: Any, values: Any) -> Any:
    """Merge `values` into the dataclass `schema`, or say which key is unknown, missing, or what it cannot be."""
    if not OmegaConf.is_dict(values):
        raise UserError(f"'{group}' must be a group of keys, not {shown(values)}; see {conf_dir()}")
    names = {item.name for item in fields(schema)}
    for name in names:
        if name not in values and f"{group}.{name}" in LATER:
            values[name] = LATER[f"{group}.{name}"]
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
    known = cast(dict[str, Any], OmegaConf.to_container(structured))
    for key, value in known.items():
        _check(f"{group}.{key}", value, limits(schema)[key])
    return schema(**known)


def _check(key: str, value: Any, among: list[Any]) -> None:
    """That a value is within its key's limits, and that its texts can be what they stand for."""
    check_value(key, value, among)
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            _check_text(key, text)


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
    composed.extend = run_extensions(given)
    return list(composed.extend)


def _resolves(composed: DictConfig, key: str) -> bool:
    try:
        OmegaConf.select(composed, key)
    except (OmegaConfBaseException, RecursionError):
        return False
    return True


def _input_size(composed: DictConfig, least: int) -> int:
    """As large as the images are stored, where the data have a key for it; at least what the network begins at."""
    sizes = [composed[group].get("size") for group in ("data", "source") if OmegaConf.is_dict(composed.get(group))]
    return max(least, *(size for size in sizes if isinstance(size, int) and not isinstance(size, bool)), 0)


def _without_dropout_block(composed: DictConfig) -> None:
    """A record of before small_cnn's dropout was the head's, when it was the block `layer4`, in today's words."""
    model, thaw = composed.get("model"), composed.get("thaw")
    if not OmegaConf.is_dict(model) or model.get("name") != "small_cnn" or "cut" in model:
        return
    if OmegaConf.is_dict(thaw):
        for key, value in list(thaw.items()):
            if key == "depth" and isinstance(value, int) and value > 0:
                thaw[key] = value - 1
            elif OmegaConf.is_list(value):
                kept = [block for block in value if block != "layer4"]
                thaw[key] = kept or None
    if OmegaConf.is_dict(composed.get("optim")) and "layer4" in (composed.optim.get("block_lr") or {}):
        del composed.optim.block_lr["layer4"]
    if OmegaConf.is_dict(composed.get("adaptation")) and composed.adaptation.get("block") == "layer4":
        composed.adaptation.block = "layer3"


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
    missing = sorted(name for name in top if name not in composed and name not in (*OPTIONAL, *LATER))
    if missing:
        raise UserError(f"the config lacks {', '.join(missing)}")

    _without_dropout_block(composed)
    values: dict[str, Any] = {"extend": _own_files(composed)}
    for key, default in LATER.items():
        if "." not in key and key not in composed:
            composed[key] = default
    for group, schema in PLAIN.items():
        if composed.get(group) is not None or group not in OPTIONAL:
            values[group] = _typed(group, schema, composed[group])
    for key, kind in (("name", str), ("seed", int), ("run_dir", str), ("cache_dir", str), ("keep", str)):
        if not isinstance(composed[key], kind) or isinstance(composed[key], bool):
            raise UserError(f"{key}={shown(composed[key])} is no value of type {kind.__name__}")
        values[key] = composed[key]
        _check(key, values[key], limits(Config)[key])
    for key in ("run_dir", "cache_dir"):
        values[key] = str(expanded(values[key], key))
    if not OmegaConf.is_dict(composed.thaw):
        raise UserError("'thaw' must map epochs to depths, e.g. {0: 0, 15: 1}")
    values["thaw"] = {str(key): value for key, value in cast(dict, OmegaConf.to_container(composed.thaw)).items()}
    if len(values["thaw"]) < len(composed.thaw):
        raise UserError("thaw names one epoch twice, once as a number and once in quotes; keep one of them")

    # Last, since a file of a choice waits for torch: what is wrong elsewhere is said before.
    for group, choices in GROUPS.items():
        if group in OPTIONAL and composed.get(group) is None:
            continue
        chosen = composed[group].get(choices.selector) if OmegaConf.is_dict(composed[group]) else None
        if not isinstance(chosen, str) or chosen not in choices:
            raise UserError(f"{group}.{choices.selector}={shown(chosen)} is not one of {', '.join(choices)}")
        keys = choices[chosen].keys
        if group == "model" and composed.model.get("input_size", 0) is None:
            own = keys.own_size(composed.model)
            composed.model.input_size = own or _input_size(composed, keys.least_input)
        values[group] = _typed(group, keys, composed[group])
    check_schedule(values["thaw"], values["trainer"], values["optim"], values["model"].block_names())
    config = Config(**values)
    kind_of(vars(config)).rule(config)
    check_cache(config)
    return config
