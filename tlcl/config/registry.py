"""What each group of the config can be: a thing is registered once, in the file where it stands.

A file of the package is named after the choice that it registers, `method=er` in `tlcl/continual/methods/er.py`.
It is imported when the choice is first asked for, since it waits for torch, and --help and a mistake in other keys
need not. A user's own file registers by `tlcl.extend`, under any name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from tlcl.config.adaptation import AdaptationConfig
from tlcl.config.continual import MethodConfig
from tlcl.config.schema import DataConfig, LoggerConfig, ModelConfig, WandbConfig
from tlcl.errors import UserError

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Choice:
    """The dataclass of its keys, and what it is: a method's class, a backbone, a data source's loader."""

    keys: Any
    thing: Any


class Group(Mapping[str, Choice]):
    """The choices of a group by name.

    Args:
        selector: the key that names the choice.
        base: what the dataclass of every choice derives from.
        package: where the files of those that ship are.
    """

    def __init__(self, selector: str, base: type, package: str = "") -> None:
        self.selector, self.base, self.package = selector, base, package
        self.known: dict[str, Choice] = {}

    def _import(self, *names: str) -> None:
        """Those files of the package that have one of the names, or all."""
        if self.package:
            for module in iter_modules(import_module(self.package).__path__):
                if not names or module.name in names:
                    import_module(f"{self.package}.{module.name}")

    def __getitem__(self, name: str) -> Choice:
        if name not in self.known:
            self._import(name)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        self._import()
        return iter(sorted(self.known))

    def __len__(self) -> int:
        return sum(1 for _ in self)


GROUPS = {
    "logger": Group("name", LoggerConfig),
    "data": Group("source", DataConfig, "tlcl.data.sources"),
    "model": Group("name", ModelConfig, "tlcl.models"),
    "method": Group("name", MethodConfig, "tlcl.continual.methods"),
    "adaptation": Group("name", AdaptationConfig, "tlcl.adaptation.methods"),
}
GROUPS["source"] = GROUPS["data"]


def register(group: str, name: str, keys: type) -> Callable[[Thing], Thing]:
    """Make what is decorated the choice `group=name`, whose keys, with their ranges, are the fields of `keys`.

    Raises:
        UserError: `keys` is no dataclass that derives from the group's, or the name is taken.
    """
    choices = GROUPS[group]
    if not (isinstance(keys, type) and issubclass(keys, choices.base) and is_dataclass(keys)):
        raise UserError(
            f"{group}={name}: its config must be a dataclass that derives from {choices.base.__name__}"
        )
    if name in choices:
        raise UserError(f"{group}={name} is there already; give yours another name")

    def add(thing: Thing) -> Thing:
        choices.known[name] = Choice(keys, thing)
        return thing

    return add


register("logger", "none", LoggerConfig)(None)
register("logger", "wandb", WandbConfig)(None)


def moved(name: str) -> Any:
    """`__getattr__` of the modules in which users' files find the keys of a choice, e.g. `EWCConfig`."""
    if name.endswith("Config"):
        for group in GROUPS.values():
            for choice in group.values():
                if choice.keys.__name__ == name:
                    return choice.keys
    raise AttributeError(f"there is no {name}")
