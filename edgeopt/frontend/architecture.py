"""The module that the function which ``--arch`` names builds."""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import nn

from edgeopt.errors import UserError
from edgeopt.frontend.user_code import user_code

_FORM = "write --arch package.module:factory, a function without arguments that returns the module"


def made(arch: str) -> nn.Module:
    """Return the module that ``arch`` (``package.module:factory``) builds.

    Raises UserError where the factory is not found, fails, or returns no module.
    """
    module_name, _, factory = arch.partition(":")
    if not module_name or not factory or module_name.startswith("."):
        raise UserError(f"--arch '{arch}' names no factory", _FORM)
    with user_code(f"--arch {arch} fails", f"repair the module '{module_name}', which is imported"):
        module = _imported(arch, module_name)
    if not hasattr(module, factory):
        raise UserError(f"--arch {arch} fails: module '{module_name}' has no '{factory}'", _FORM)
    with user_code(f"--arch {arch} fails", f"repair '{factory}', which is called without arguments"):
        model = getattr(module, factory)()
    if not isinstance(model, nn.Module):
        raise UserError(f"--arch {arch} returns an object of type {type(model).__name__}, not a module", _FORM)
    return model


def _imported(arch: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        is_named = f"{module_name}.".startswith(f"{error.name}.")
        remedy = f"install what module '{module_name}' imports" if not is_named else f"{_FORM}, from its folder"
        raise UserError(f"--arch {arch} fails: {error}", remedy) from error
