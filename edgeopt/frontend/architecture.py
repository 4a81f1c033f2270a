"""From a state dict and the function that ``--arch`` names to a module."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.foreign import foreign

_FORM = "write --arch package.module:factory, a function without arguments that returns the module"
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before the names of a module's tensors."""


def built(source: str, state: Mapping[str, torch.Tensor], arch: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module that ``arch`` (``package.module:factory``) builds, with the state dict of ``source`` in it.

    The second value says what was changed in the names of the state dict. Raises UserError where the factory is not
    found, fails, or returns no module, and where the state dict does not fit.
    """
    model = _made(arch)
    state, notes = _unwrapped(source, state, model)
    with foreign(f"'{source}' does not fit {arch}", "check that both are one version"):
        model.load_state_dict(state)
    return model, notes


def _made(arch: str) -> nn.Module:
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


def _unwrapped(
    source: str, state: Mapping[str, torch.Tensor], model: nn.Module
) -> tuple[Mapping[str, torch.Tensor], tuple[str, ...]]:
    """Return the state dict without the prefixes of wrappers that all its names bear and the model's do not."""
    own, stripped = set(model.state_dict()), []
    while prefix := next((p for p in _WRAPPERS if state and all(name.startswith(p) for name in state)), None):
        if own & state.keys():
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        stripped.append(prefix)
    if not stripped:
        return state, ()
    return state, (f"the prefix '{''.join(stripped)}' was taken from the names in '{source}'",)
