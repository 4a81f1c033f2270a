"""The module that the function which ``--arch`` names builds."""

from __future__ import annotations

import importlib

from torch import nn

from edgeopt.errors import UserError
from edgeopt.frontend.user_code import user_code

_FORM = "write --arch package.module:factory, a function without arguments that returns the module"


def made(arch: str) -> nn.Module:
    """Return the module that ``arch`` (``package.module:factory``) builds.

    Raises UserError where the factory is not found, fails, or returns no module.
    """
    module_name, _, factory = arch.partition(":")
    if not module_name or not factory:
        raise UserError(f"--arch '{arch}' names no factory", _FORM)
    with user_code(f"--arch {arch} fails", _FORM):
        model = getattr(importlib.import_module(module_name), factory)()
    if not isinstance(model, nn.Module):
        raise UserError(f"--arch {arch} returns an object of type {type(model).__name__}, not a module", _FORM)
    return model
