"""From a model file or module to a Program, safely: no code from the file runs unless it is trusted."""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgeopt.archive import DEFAULT_MAX_BYTES, Format, identify
from edgeopt.errors import EdgeoptError, UserError
from edgeopt.exported import from_exported
from edgeopt.inputs import Arrays, DynamicSpec, InputSpec, check_inputs, check_spec
from edgeopt.ops import register_all
from edgeopt.program import Program, to_numpy
from edgeopt.trace import example_inputs, quiet, trace, traceable

_EXPORT_HINT = "save it with torch.export.save(torch.export.export(model.eval(), inputs), path)"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a model.

    ``inputs``: specs, or ``sample``: arrays, to trace modules with (archives carry their own). ``dynamic``:
    dimensions that may vary. ``arch``: ``package.module:factory`` that builds the module of a state dict.
    ``trust``: allow pickled modules to run their code. ``max_archive_bytes``: largest unpacked size.
    """

    inputs: tuple[InputSpec, ...] = ()
    sample: Arrays | None = None
    dynamic: tuple[DynamicSpec, ...] = ()
    arch: str | None = None
    trust: bool = False
    max_archive_bytes: int = DEFAULT_MAX_BYTES


@dataclass(frozen=True)
class Loaded:
    """A program and where it comes from. ``example`` holds the inputs it was traced with."""

    program: Program
    source: str
    format: Format
    sha256: str | None
    example: dict[str, np.ndarray] = field(default_factory=dict)


def load(model: nn.Module | ExportedProgram | str | os.PathLike[str], options: LoadOptions | None = None) -> Loaded:
    """Load a model: a file of any kind in ``edgeopt.archive.Format``, a module, or an exported program.

    Raises UserError where the file is unsafe or unreadable, where inputs do not fit, where an operator cannot
    be traced, or where weights hold NaN.
    """
    options = options or LoadOptions()
    if isinstance(model, ExportedProgram):
        return _finish(model, type(model).__name__, Format.EXPORTED, None, options)
    if isinstance(model, nn.Module):
        return _finish(_trace(model, options), type(model).__name__, Format.MODULE, None, options)
    path = Path(model)
    kind = identify(path, options.max_archive_bytes)
    exported, names = _READERS[kind](path, options)
    return _finish(exported, path.name, kind, _sha256(path), options, names)


def _finish(
    exported: ExportedProgram,
    source: str,
    kind: Format,
    sha256: str | None,
    options: LoadOptions,
    input_names: Sequence[str] | None = None,
) -> Loaded:
    program = from_exported(exported, input_names)
    for name, tensor in program.constants.items():
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            count = int(torch.isnan(tensor).sum())
            raise UserError(f"weight '{name}' holds {count} NaN of {tensor.numel()} values", "retrain or repair it")
    example = dict(options.sample) if options.sample is not None else _example(exported, program)
    if example:
        check_inputs(program.inputs, example)
    for spec in options.inputs:
        check_spec(program.inputs, spec)
    return Loaded(program, source, kind, sha256, example)


def _example(exported: ExportedProgram, program: Program) -> dict[str, np.ndarray]:
    if exported.example_inputs is None:
        return {}
    leaves = [leaf for leaf in pytree.tree_leaves(exported.example_inputs) if isinstance(leaf, torch.Tensor)]
    return {spec.name: to_numpy(leaf) for spec, leaf in zip(program.inputs, leaves, strict=False)}


# -- readers: one a kind of file -----------------------------------------------------------------------


def _read_exported(path: Path, options: LoadOptions) -> tuple[ExportedProgram, None]:
    if options.dynamic:
        raise UserError(
            f"'{path}' was traced with fixed dimensions already",
            "give dynamic_shapes to torch.export.export, or load the state dict with --arch",
        )
    register_all()
    with _no_unpickling(), quiet():
        exported = _guarded(path, lambda: torch.export.load(path))
    return exported, None


def _read_torchscript(path: Path, options: LoadOptions) -> tuple[ExportedProgram, list[str]]:
    from torch._export.converter import TS2EPConverter

    module = _guarded(path, lambda: torch.jit.load(path, map_location="cpu")).eval()
    names = [a.name for a in module.forward.schema.arguments if a.name != "self"]
    example = example_inputs(names, options.inputs, options.sample)
    names = list(example)

    class Converter(TS2EPConverter):
        def retrace_as_exported_program(self, gm: GraphModule, name_to_constant: dict[str, Any]) -> ExportedProgram:
            # The original traces with every dimension dynamic, which no pooling to a fixed size survives.
            return trace(gm, options.inputs, options.sample, options.dynamic, names)

    with traceable(), quiet():
        return Converter(module, tuple(example.values())).convert(), names


def _read_checkpoint(path: Path, options: LoadOptions) -> tuple[ExportedProgram, None]:
    content = _unpickle(path, options)
    if isinstance(content, nn.Module):
        return _trace(content, options), None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise UserError(f"'{path}' holds a {type(content).__name__}, no model and no state dict", _EXPORT_HINT)
    return _trace(_build(path, content, options), options), None


def _unpickle(path: Path, options: LoadOptions) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not options.trust:
            raise UserError(
                f"'{path}' is a pickle, and loading it would run code from the file",
                f"{_EXPORT_HINT}; or pass --trust if you trust where the file comes from",
            ) from None
    except Exception as error:
        raise _damaged(path, error) from error
    return _guarded(path, lambda: torch.load(path, map_location="cpu", weights_only=False))


def _read_safetensors(path: Path, options: LoadOptions) -> tuple[ExportedProgram, None]:
    from safetensors.torch import load_file

    return _trace(_build(path, _guarded(path, lambda: load_file(path)), options), options), None


_READERS: dict[Format, Callable[[Path, LoadOptions], tuple[ExportedProgram, list[str] | None]]] = {
    Format.EXPORTED: _read_exported,
    Format.TORCHSCRIPT: _read_torchscript,
    Format.CHECKPOINT: _read_checkpoint,
    Format.SAFETENSORS: _read_safetensors,
}


def _build(path: Path, state: Mapping[str, torch.Tensor], options: LoadOptions) -> nn.Module:
    """Build the module that ``arch`` names and give it the state dict."""
    if options.arch is None:
        raise UserError(
            f"'{path}' holds {len(state)} tensors and no architecture",
            "name what builds the module: --arch package.module:factory",
        )
    module_name, _, factory = options.arch.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        model = getattr(importlib.import_module(module_name), factory)()
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"--arch {options.arch} fails: {error}", "write package.module:factory, a callable") from error
    finally:
        sys.path.pop(0)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:400]
        raise UserError(f"'{path}' does not fit {options.arch}: {detail}", "check that both are one version") from error
    return model


def _trace(module: nn.Module, options: LoadOptions) -> ExportedProgram:
    was_training = module.training
    try:
        return trace(module.eval(), options.inputs, options.sample, options.dynamic)
    finally:
        module.train(was_training)


# -- guards --------------------------------------------------------------------------------------------


@contextmanager
def _no_unpickling() -> Iterator[None]:
    """Make every torch.load inside torch.export.load weights-only; it falls back to pickle otherwise."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except EdgeoptError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UserError(f"'{path}' cannot be read: {reason[:300]}", "copy or save the file again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
