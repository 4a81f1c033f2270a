"""The public names: all of them exist, each says what it is, and they stay few."""

import ast
import pkgutil
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import edgeopt


def test_about_a_dozen() -> None:
    assert 10 <= len(edgeopt.__all__) <= 18
    assert len(set(edgeopt.__all__)) == len(edgeopt.__all__)


@pytest.mark.parametrize("name", edgeopt.__all__)
def test_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(edgeopt, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__ and len(value.__doc__) > 20


def test_type_checkers_know_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(edgeopt.__file__).read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    known = {alias.name: str(node.module) for node in imports for alias in node.names}
    known = {name: module for name, module in known.items() if module.startswith("edgeopt.")}
    assert set(edgeopt.__all__) == {*known, "__version__"}
    for name, module in known.items():
        assert getattr(edgeopt, name) is getattr(import_module(module), name)


def test_no_module_hides_a_name() -> None:
    # Importing edgeopt.x sets the attribute edgeopt.x to the module, whatever the name stood for before.
    assert not {module.name for module in pkgutil.iter_modules(edgeopt.__path__)} & set(edgeopt.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'exprot'"):
        attrgetter("exprot")(edgeopt)
