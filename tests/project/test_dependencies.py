"""What is installed: lower bounds that leave bad releases out, and one exact pin for everything."""

import ast
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    name: [Requirement(text) for text in texts]
    for name, texts in PROJECT["project"]["optional-dependencies"].items()
}
DEPENDENCIES = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
EVERY = [*DEPENDENCIES, *BUILD, *(item for group in EXTRAS.values() for item in group)]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LINES)}
OUR_OWN = {"tlcl", "tests", "benchmarks", "torture", "notebooks"}
NEEDS_NO_PIN = {"pip", "setuptools", "tlcl", "wheel"}  # they come with Python, or are this
# Versions with known malicious or gravely vulnerable code.
BAD = {
    "lightning": ["2.6.2", "2.6.3"],
    "torch": ["2.5.1"],  # CVE-2025-32434: torch.load(weights_only=True) can run code
    "hydra-core": ["1.3.2"],  # instantiates os.system and the like
}


def pinned(name: str) -> Version:
    (one,) = PINS[canonicalize_name(name)].specifier
    assert one.operator == "=="
    return Version(one.version)


@pytest.mark.parametrize("name", BAD)
def test_bad_releases_are_left_out(name: str) -> None:
    (bound,) = [item.specifier for item in DEPENDENCIES if item.name == name]
    for version in BAD[name]:
        assert version not in bound
    assert pinned(name) in bound


def test_lightning_begins_after_the_malicious_releases() -> None:
    (bound,) = [item.specifier for item in DEPENDENCIES if item.name == "lightning"]
    assert bound == SpecifierSet(">=2.6.4")
    assert pinned("pytorch-lightning") not in SpecifierSet("==2.6.2,==2.6.3")


@pytest.mark.parametrize("item", EVERY, ids=str)
def test_every_dependency_has_a_lower_bound_that_its_pin_satisfies(item: Requirement) -> None:
    if item.name == "tlcl":  # extras of its own
        assert item.extras <= set(EXTRAS)
        return
    assert any(bound.operator in (">=", "==", "~=") for bound in item.specifier)
    assert pinned(item.name) in item.specifier


@pytest.mark.parametrize("pin", PINS.values(), ids=str)
def test_a_pin_is_one_version(pin: Requirement) -> None:
    assert [one.operator for one in pin.specifier] == ["=="]
    assert not next(iter(pin.specifier)).version.endswith("*")
    assert pin.url is None


def needed() -> dict[str, str]:
    """Package -> who needs it, of all that the package and its extras bring.

    But for the benchmarks' own: avalanche-lib asks for every solver of quadratic programs there is, and uses none.
    """
    bench = {item.name for item in EXTRAS["bench"]}
    waiting = [(item, "pyproject.toml") for item in EVERY if item.name not in {"tlcl", *bench}]
    found: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        item, asker = waiting.pop()
        if str(item) in seen:
            continue
        seen.add(str(item))
        found[canonicalize_name(item.name)] = asker
        for text in distribution(item.name).requires or []:
            below = Requirement(text)
            asked = ({"extra": extra} for extra in ("", *item.extras))
            if below.marker is None or any(map(below.marker.evaluate, asked)):
                waiting.append((below, item.name))
    return found


def test_constraints_pin_all_that_is_installed() -> None:
    found = needed()
    assert len(found) > 100
    unpinned = {name: asker for name, asker in found.items() if name not in PINS and name not in NEEDS_NO_PIN}
    assert not unpinned
    installed = {name: Version(distribution(name).version) for name in found if name in PINS}
    assert {name for name, version in installed.items() if Version(version.public) != pinned(name)} == set()


def test_the_pins_run_on_the_lowest_python_and_on_no_lower_one() -> None:
    wanted = SpecifierSet(PROJECT["project"]["requires-python"])
    needs = [SpecifierSet(distribution(name).metadata.get("Requires-Python") or "") for name in needed()]
    supported = [f"3.{minor}" for minor in range(8, 14) if all(f"3.{minor}" in need for need in needs)]
    assert supported == [f"3.{minor}" for minor in range(8, 14) if f"3.{minor}" in wanted]
    assert PROJECT["tool"]["mypy"]["python_version"] == supported[0]
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{supported[0].replace('.', '')}"


# The extra `bench` may be missing: import name -> package, where they differ.
NOT_INSTALLED = {"avalanche": "avalanche-lib"}


def test_what_is_imported_is_declared() -> None:
    """Not what another package happens to bring."""
    declared = {canonicalize_name(item.name) for item in EVERY}
    known = packages_distributions()
    for folder in ("tlcl", "benchmarks", "torture", "tests", "notebooks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for name in {name.partition(".")[0] for name in names} - OUR_OWN - sys.stdlib_module_names:
                    homes = {canonicalize_name(home) for home in known.get(name, [NOT_INSTALLED.get(name, name)])}
                    assert homes & declared, f"{path.relative_to(ROOT)} imports {name} of {homes}"
