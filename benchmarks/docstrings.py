"""Unlabeled English text that every Python has: the docstrings of the standard library."""

from __future__ import annotations

import ast
import importlib
import inspect
import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_LEFT_OUT = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "test", "lib2to3"}
"""Modules that do something when they are imported, or need a display."""
_NO_SOURCES = _LEFT_OUT | {"tests", "idle_test", "site-packages"}
_SHORTEST = 120
"""Characters below which a docstring says little."""
_TELLING = 80
"""Characters, however they are spaced, at which two docstrings that begin alike count as one."""


def docstrings(seed: int = 0) -> list[str]:
    """Return the docstrings of modules, classes and functions, one of those that begin alike, shuffled."""
    found = set(_of_sources(Path(sysconfig.get_path("stdlib"))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(sys.stdlib_module_names - _LEFT_OUT):
            if not name.startswith("_"):
                found |= set(_of_module(name))
    texts = sorted(text for text in found if len(text) >= _SHORTEST)
    texts = list({" ".join(text.split())[:_TELLING]: text for text in texts}.values())
    random.Random(seed).shuffle(texts)
    return texts


def _of_sources(folder: Path) -> Iterator[str]:
    """Yield the docstrings of all modules in Python."""
    for path in sorted(folder.rglob("*.py")):
        if _NO_SOURCES.isdisjoint(path.relative_to(folder).parts):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


def _of_module(name: str) -> Iterator[str]:
    """Yield those of a module's public names, of which some are written in C."""
    try:
        module = importlib.import_module(name)
    except ImportError:  # of another operating system
        return
    yield inspect.getdoc(module) or ""
    for value in _public(module):
        yield _doc(value)
        if inspect.isclass(value):
            yield from (_doc(member) for member in _public(value))


def _public(holder: ModuleType | type) -> list[object]:
    return [value for name, value in sorted(vars(holder).items()) if not name.startswith("_") and callable(value)]


def _doc(value: object) -> str:
    text = getattr(value, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) else ""
