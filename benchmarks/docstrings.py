"""Unlabelled English text that every Python has: the docstrings of the standard library."""

from __future__ import annotations

import importlib
import inspect
import random
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

_LEFT_OUT = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "test", "lib2to3"}
"""Modules that do something when they are imported, or need a display."""
_SHORTEST = 120
"""Characters below which a docstring says little."""


def docstrings(seed: int = 0) -> list[str]:
    """Return the docstrings of public modules, classes, methods and functions, without repetitions, shuffled."""
    found = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(sys.stdlib_module_names - _LEFT_OUT):
            if not name.startswith("_"):
                found |= set(_of_module(name))
    texts = sorted(text for text in found if len(text) >= _SHORTEST)
    random.Random(seed).shuffle(texts)
    return texts


def _of_module(name: str) -> Iterator[str]:
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
