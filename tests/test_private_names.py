"""Tests reach what they test by public names: what stands behind a private one can change without them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from edgeopt.sources import PACKAGES, folders_of

TESTS = Path(__file__).parent
OF_TORCH = {"_version", "_subclasses", "_schema"}
"""Private names of torch's that edgeopt has as well."""


def private(names: Iterable[object]) -> set[str]:
    """The private ones among names, which may have dots."""
    last = {name.rpartition(".")[2] for name in names if isinstance(name, str)}
    return {name for name in last if name.startswith("_") and not name.startswith("__")}


def defined(nodes: list[ast.AST]) -> set[str]:
    """Private functions, classes, variables and attributes that a module makes."""
    names = [n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    names += [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names += [n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
    return private(names)


def reached(nodes: list[ast.AST]) -> set[str]:
    """Private names of others that a module reads, imports, or patches by getattr and setattr."""
    attributes = [n for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) not in ("self", "cls")]
    names: list[object] = [n.attr for n in attributes]
    names += [alias.name for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names]
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("attr")]
    names += [argument.value for n in calls for argument in n.args if isinstance(argument, ast.Constant)]
    return private(names)


def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def test_private_names_are_told_from_others() -> None:
    nodes = list(
        ast.walk(ast.parse("_a = b._c; self._d; from e import _f; monkeypatch.setattr(g, '_h', 1); i.__doc__"))
    )
    assert reached(nodes) == {"_c", "_f", "_h"} and defined(nodes) == {"_a"}


def test_tests_reach_no_private_names() -> None:
    sources = {path for package in PACKAGES for folder in folders_of(package) for path in Path(folder).rglob("*.py")}
    tests = {path.relative_to(TESTS).as_posix(): nodes_of(path) for path in TESTS.rglob("*.py")}
    own = set().union(*map(defined, [*map(nodes_of, sources), *tests.values()])) - OF_TORCH
    assert {path: names for path, nodes in tests.items() if (names := reached(nodes) & own)} == {}
