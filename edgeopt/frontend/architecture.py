"""The module that the function which ``--arch`` names builds."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from torch import nn

from edgeopt.errors import UserError
from edgeopt.foreign import foreign

_FORM = "write --arch package.module:factory, a function without arguments that returns the module"


def made(arch: str) -> nn.Module:
    """Return the module that ``arch`` (``package.module:factory``) builds.

    Raises UserError where the factory is not found, fails, or returns no module.
    """
    module_name, _, factory = arch.partition(":")
    if not module_name or not factory:
        raise UserError(f"--arch '{arch}' names no factory", _FORM)
    with _importable_from_here(), foreign(f"--arch {arch} fails", _FORM), redirect_stdout(sys.stderr):
        model = getattr(importlib.import_module(module_name), factory)()
    if not isinstance(model, nn.Module):
        raise UserError(f"--arch {arch} returns an object of type {type(model).__name__}, not a module", _FORM)
    return model


@contextmanager
def _importable_from_here() -> Iterator[None]:
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.pop(0)
