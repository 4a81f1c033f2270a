"""What is imported is declared: what loads with a module as a dependency, what loads late in an extra."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.oldest import LEFT_OUT, constraints

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
INSTALLED = ("edgeopt", "targets", "kernels", "calib")
OWN = {
    "edgeopt",
    "tests",
    "samples",
    "benchmarks",
    "make_cli",
    "make_flags",
    "make_overrides",
}
ALL = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
DISTRIBUTIONS = packages_distributions()
EXTRAS_OF_USERS = tuple(PROJECT["optional-dependencies"].keys() - {"samples", "test", "docs", "benchmarks"})


def test_the_oldest_release_of_each_is_its_lower_bound() -> None:
    oldest = dict(line.split("==") for line in constraints())
    bounds = {r.name: r.specifier for lines in ALL for r in map(Requirement, lines)}
    bounded = {name for name, specifier in bounds.items() if ">=" in str(specifier)} - set(LEFT_OUT)
    assert set(oldest) == bounded
    assert all(f">={version}" in str(bounds[name]) and version in bounds[name] for name, version in oldest.items())


def declared(*extras: str) -> set[str]:
    """The distributions that edgeopt with these extras asks for by name."""
    found: set[str] = set()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, lines):
        found |= (
            declared(*requirement.extras) if requirement.name == "edgeopt" else {canonicalize_name(requirement.name)}
        )
    return found


@cache
def imported(folder: str, late: bool) -> dict[str, str]:
    """The distributions that a folder imports, ``late`` ones too, each with a file that does."""
    found: dict[str, str] = {}
    packages = [file.parent for file in (ROOT / folder).rglob("pyproject.toml")]  # with dependencies of their own
    for path in (ROOT / folder).rglob("*.py"):
        if any(path.is_relative_to(package) for package in packages):
            continue
        for module in _modules(ast.parse(path.read_text("utf-8")), late):
            name = module.partition(".")[0]
            if name not in sys.stdlib_module_names and name not in OWN:
                found[canonicalize_name(DISTRIBUTIONS.get(name, [name])[0])] = str(path.relative_to(ROOT))
    return found


def _modules(node: ast.AST, late: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield child.module or ""
        elif late or not (isinstance(child, ast.FunctionDef) or _is_for_types(child)):
            yield from _modules(child, late)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("folder", INSTALLED)
def test_what_loads_with_a_module_is_a_dependency(folder: str) -> None:
    missing = imported(folder, late=False).keys() - declared()
    assert not missing, {name: imported(folder, late=False)[name] for name in missing}


@pytest.mark.parametrize("folder", INSTALLED)
def test_what_loads_late_is_in_an_extra(folder: str) -> None:
    missing = imported(folder, late=True).keys() - declared(*EXTRAS_OF_USERS)
    assert not missing, {name: imported(folder, late=True)[name] for name in missing}


@pytest.mark.parametrize("extra", ["samples", "test", "benchmarks"])
def test_what_stands_beside_the_package_has_an_extra(extra: str) -> None:
    folder = {"test": "tests"}.get(extra, extra)
    missing = imported(folder, late=True).keys() - declared(extra)
    assert not missing, {name: imported(folder, late=True)[name] for name in missing}


def test_no_dependency_is_needless() -> None:
    used = {name for folder in INSTALLED for name in imported(folder, late=False)}
    assert declared() <= used | {"safetensors"}  # which loads late, with the first file of weights
