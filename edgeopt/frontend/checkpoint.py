"""What torch.save wrote: a module, a state dict, or a training checkpoint with one of these among other things."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeopt.errors import UserError
from edgeopt.files import reading
from edgeopt.frontend.architecture import made
from edgeopt.frontend.precision import cast_notes
from edgeopt.frontend.state_dict import State, fill

_ENTRIES = 8
"""Most entries that a message lists."""
_DEPTH = 3
"""How deep in a checkpoint state dicts are looked for."""
_MOVING_AVERAGE = "ema"
"""In the names of entries with weights averaged over training, which are those to deploy."""
_EXPORT_HINT = "save it with torch.export.save(torch.export.export(model.eval(), inputs), path)"


def read_checkpoint(path: Path, trust: bool) -> Any:
    """Return what a file of torch.save holds; objects are built, which runs code, only where it is trusted."""
    with reading(path, "copy or save the file again"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            if not trust:
                raise UserError(
                    f"'{path}' is a pickle, and loading it would run code from the file",
                    f"{_EXPORT_HINT}; or pass --trust if you trust where the file comes from",
                ) from None
        try:
            return torch.load(path, map_location="cpu", weights_only=False)
        except (ModuleNotFoundError, AttributeError) as error:
            is_of_script = "__main__" in str(error)
            remedy = "move the class from the script to a module" if is_of_script else "install what defines the class"
            raise UserError(
                f"'{path}' holds objects whose class is not found: {error}", f"{remedy}, or {_EXPORT_HINT}"
            ) from error
        except RuntimeError as error:
            if "magic number" not in str(error):
                raise
            raise UserError(f"'{path}' is a pickle that torch.save did not write", _EXPORT_HINT) from error


def module_of(path: Path, content: Any, arch: str | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model in what a file holds, and notes on what was taken.

    A module is taken where no ``arch`` is given; with one, the state dict that fits what it builds best, whatever the
    entries are called. Raises UserError where there is nothing, or nothing that fits.
    """
    if isinstance(content, nn.Module):
        return content, ()
    modules = dict(_modules(content))
    if modules and arch is None:
        return _taken(path, modules)
    states = dict(_states(content))
    states |= {f"{name}.state_dict()": module.state_dict() for name, module in modules.items()}
    if not states:
        raise UserError(f"'{path}' holds {_described(content)}, not a model and not a state dict", _EXPORT_HINT)
    if arch is None:
        largest = max(states.values(), key=len)
        raise UserError(
            f"'{path}' holds {_entries(states) or f'{len(largest)} tensors'} and no architecture",
            "name what builds the module: --arch package.module:factory",
        )
    averages = [name for name in states if _is_average(name)]
    return fill(str(path), made(arch), states, arch, averages)


def _taken(path: Path, modules: Mapping[str, nn.Module]) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module of an entry in float32: the only one, or that with averaged weights."""
    names = [name for name in modules if _is_average(name)] or list(modules)
    if len(names) > 1:
        raise UserError(
            f"'{path}' holds several modules, of which it is not clear which is the model: {', '.join(names)}",
            "save the model or its state dict by itself: torch.save(torch.load(path)[entry], new_path)",
        )
    module = modules[names[0]]
    stored = {(tensor.dtype, torch.float32) for tensor in module.state_dict().values()}
    taken = f"the module in entry '{names[0]}' ({type(module).__name__}) was taken from '{path}'"
    return module.float(), (taken, *cast_notes(stored))


def _is_average(name: str) -> bool:
    return _MOVING_AVERAGE in name.lower().replace(".", "_").split("_")


def _modules(content: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(content, Mapping):
        yield from ((str(name), value) for name, value in content.items() if isinstance(value, nn.Module))


def _states(content: Any, place: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, State]]:
    """Yield the mappings of names to tensors in a checkpoint, by the entries that lead to them; that of the whole file
    has an empty name."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    if tensors := {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}:
        yield place, tensors
    for name, value in named.items():
        yield from _states(value, f"{place}.{name}" if place else name, depth - 1)


def _described(content: Any) -> str:
    if not isinstance(content, Mapping) or not content:
        return f"a {type(content).__name__}"
    return f"a {type(content).__name__} of {_entries(content)}"


def _entries(content: Mapping[str, Any]) -> str:
    """Return the entries of a checkpoint by name and type; those of a state dict itself are not listed."""
    named = [f"{name} ({_kind(value)})" for name, value in content.items() if name]
    more = f" and {len(named) - _ENTRIES} more" if len(named) > _ENTRIES else ""
    return ", ".join(named[:_ENTRIES]) + more


def _kind(value: Any) -> str:
    is_state = isinstance(value, Mapping) and value and all(isinstance(one, torch.Tensor) for one in value.values())
    return f"{len(value)} tensors" if is_state else type(value).__name__
