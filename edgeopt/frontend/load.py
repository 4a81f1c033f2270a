"""From a model file or module to a Program, safely: no code from the file runs unless it is trusted."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils._pytree as pytree
from safetensors.torch import load_file
from torch import nn
from torch._export.utils import _get_shape_env_from_gm
from torch.export import ExportedProgram

from edgeopt.errors import UserError
from edgeopt.foreign import foreign, logged_errors, quiet
from edgeopt.frontend import onnx
from edgeopt.frontend.archive import DEFAULT_MAX_BYTES, Format, identify
from edgeopt.frontend.checkpoint import module_of, read_checkpoint
from edgeopt.frontend.custom_operators import check_operators, import_modules, written_out
from edgeopt.frontend.free_dimensions import traced_freely
from edgeopt.frontend.huggingface.inputs import for_whole_text
from edgeopt.frontend.huggingface.pretrained import read_folder
from edgeopt.frontend.inputs import DynamicSpec, InputSpec, check_inputs, check_spec, load_sample
from edgeopt.frontend.quantized import carry_quantization
from edgeopt.frontend.samples import named, plain
from edgeopt.frontend.torchscript import convert
from edgeopt.frontend.trace import trace
from edgeopt.ir.convert import from_exported
from edgeopt.ir.metrics import Arrays, Sample
from edgeopt.ir.program import Program, numpy_dtype, to_numpy
from edgeopt.ir.provenance import constant_path
from edgeopt.ir.wider_floats import OTHER_FLOATS, in_float32
from edgeopt.options import option


@dataclass(frozen=True)
class LoadOptions:
    """How to read a model.

    ``inputs``: specs, or ``sample``: arrays, to trace modules with (archives carry their own). ``dynamic``:
    dimensions that may vary. ``arch``: ``package.module:factory`` that builds the module of a state dict.
    ``imports``: modules that define the operators a program calls. ``task``: what a Hugging Face folder is to do, in
    the words of transformers' pipelines; ``fixed``: its inputs keep their sizes, of which batch and length vary
    otherwise. ``float32``: take everything in bfloat16, float16 and float64 in float32. ``trust``: allow pickled
    modules, the code of a folder and modules to import to run. ``max_archive_bytes``: largest unpacked size.
    """

    inputs: tuple[InputSpec, ...] = option(
        (), "Input, as x:1x3x32x32.", metavar="NAME:SHAPE[:DTYPE]", flag="--input", parse=InputSpec.parse
    )
    sample: Arrays | None = option(
        None, "Sample inputs, by name.", metavar="NPZ", parse=lambda path: load_sample(Path(path))
    )
    dynamic: tuple[DynamicSpec, ...] = option(
        (), "Dimension that may vary.", metavar="NAME:AXIS=MIN..MAX", parse=DynamicSpec.parse
    )
    arch: str | None = option(None, "What builds the module of a state dict.", metavar="MODULE:FACTORY")
    imports: tuple[str, ...] = option(
        (), "Module that defines custom operators (with --trust).", metavar="MODULE", flag="--import"
    )
    task: str | None = option(None, "Task of a Hugging Face folder (default: that of its configuration).")
    fixed: bool = option(False, "Keep the sizes of a Hugging Face folder's inputs fixed.")
    float32: bool = option(
        False, "Take the model in float32 where it has other floating-point types, inputs and outputs among it."
    )
    trust: bool = option(False, "Allow code from pickled models, folders and data functions to run.")
    max_archive_bytes: int = option(DEFAULT_MAX_BYTES, "Largest unpacked size of an archive.", metavar="N")

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.inputs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"the inputs give '{twice}' more than once", "give every input once")


@dataclass(frozen=True)
class Loaded:
    """A program and where it comes from.

    ``example`` holds the inputs it was traced with; ``has_invented_example``: nobody gave them, but for their shapes.
    ``notes`` say what was done to the file's content to get it. ``companions``: files that belong beside the artifact.
    """

    program: Program
    source: str
    format: Format
    sha256: str | None
    example: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_invented_example: bool = False
    companions: tuple[Path, ...] = ()


def load(model: nn.Module | ExportedProgram | str | os.PathLike[str], options: LoadOptions | None = None) -> Loaded:
    """Load a model: a file or folder of any kind in ``edgeopt.frontend.archive.Format``, a module, or an exported
    program.

    Raises UserError where the file is unsafe or unreadable, where inputs do not fit, where an operator cannot
    be traced, or where weights hold NaN.
    """
    options = options or LoadOptions()
    if options.sample is not None:
        options = replace(options, sample=plain(options.sample))
    import_modules(options.imports, options.trust)
    if isinstance(model, ExportedProgram):
        return _finish(_Read(model), type(model).__name__, Format.EXPORTED, None, options)
    if isinstance(model, nn.Module):
        return _finish(_Read(_trace(model, options)), type(model).__name__, Format.MODULE, None, options)
    path = Path(model)
    kind = identify(path, options.max_archive_bytes)
    if options.task is not None and kind != Format.HUGGING_FACE:
        raise UserError(
            f"--task is given, and '{path}' is a {kind.value}", "leave it out: it is for Hugging Face folders"
        )
    if options.arch is not None and kind not in (Format.CHECKPOINT, Format.SAFETENSORS):
        raise UserError(f"--arch is given, and '{path}' is a {kind.value}", "leave it out: it is for state dicts")
    read = _READERS[kind](path, options)
    return _finish(read, Path(os.path.realpath(path)).name, kind, read.sha256 or _sha256(path), options)


@dataclass(frozen=True)
class _Read:
    """What a file holds; ``input_names`` where the program does not tell them, ``notes`` on what was done to get it.

    ``sample``: the example, where it is not what the program was traced with. ``sha256``: where it is not one file's.
    """

    exported: ExportedProgram
    input_names: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    sample: Sample | None = None
    sha256: str | None = None
    companions: tuple[Path, ...] = ()


def _finish(read: _Read, source: str, kind: Format, sha256: str | None, options: LoadOptions) -> Loaded:
    exported, written = written_out(read.exported)
    program = from_exported(exported, read.input_names)
    carry_quantization(program)
    _refuse_nan(program)
    program, cast = in_float32(program, OTHER_FLOATS) if options.float32 else (program, ())
    given, names = read.sample or options.sample, [spec.name for spec in program.inputs]
    example = named(given, names) if given is not None else _example(read.exported, program)
    if example:
        check_inputs(program.inputs, example)
    for spec in options.inputs:
        check_spec(program.inputs, spec)
    # Archives bring the inputs that their owner traced them with.
    is_invented = options.sample is None and kind != Format.EXPORTED
    return Loaded(program, source, kind, sha256, example, (*read.notes, *written, *cast), is_invented, read.companions)


def _refuse_nan(program: Program) -> None:
    for node in program.graph.find_nodes(op="placeholder"):
        tensor = program.constant(node)
        if tensor is None or not tensor.is_floating_point():
            continue
        if count := int(torch.isnan(tensor).sum()):
            path = constant_path(node)
            raise UserError(f"weight '{path}' holds {count} NaN of {tensor.numel()} values", "retrain or repair it")


def _example(exported: ExportedProgram, program: Program) -> dict[str, np.ndarray]:
    if exported.example_inputs is None:
        return {}
    leaves = [leaf for leaf in pytree.tree_leaves(exported.example_inputs) if isinstance(leaf, torch.Tensor)]
    return {
        spec.name: to_numpy(leaf).astype(numpy_dtype(spec.dtype), copy=False)
        for spec, leaf in zip(program.inputs, leaves, strict=False)
    }


# -- readers: one a kind of file -----------------------------------------------------------------------


def _read_exported(path: Path, options: LoadOptions) -> _Read:
    if options.dynamic:
        raise UserError(
            f"'{path}' was traced already, and its dimensions are as they were traced",
            "give dynamic_shapes to torch.export.export, or load the state dict with --arch",
        )
    check_operators(path)
    with _readable(path):
        try:
            return _Read(_opened(path))
        except pickle.UnpicklingError as error:
            raise UserError(
                f"'{path}' cannot be read: its example inputs hold objects, and loading those would run code",
                "save it without them: set exported.example_inputs = None before torch.export.save",
            ) from error


def _opened(path: Path) -> ExportedProgram:
    """Return the program of a torch.export archive."""
    with _no_unpickling(), quiet(), logged_errors(torch.export.__name__) as causes:
        try:
            exported = torch.export.load(path)
        except RuntimeError as error:
            # torch logs what it stumbled over, and raises that something was logged.
            raise (causes[0] if causes else error) from None
    _keep_symbols(exported)
    return exported


def _keep_symbols(exported: ExportedProgram) -> None:
    """Forget the ranges of expressions such as ``4*b``: torch reads them back as symbols, and fails on them later."""
    environment = _get_shape_env_from_gm(exported.graph_module)
    ranges = environment.var_to_range if environment is not None else {}
    for expression in [key for key in ranges if not key.is_Symbol]:
        del ranges[expression]


def _read_torchscript(path: Path, options: LoadOptions) -> _Read:
    with _readable(path), tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        output = Path(folder, "model.pt2")
        names = convert(path, output, options.inputs, options.sample, options.dynamic)
        return _Read(_opened(output), names)


def _read_checkpoint(path: Path, options: LoadOptions) -> _Read:
    return _read_state(path, read_checkpoint(path, options.trust), options)


def _read_safetensors(path: Path, options: LoadOptions) -> _Read:
    with _readable(path):
        state = load_file(path)
    return _read_state(path, state, options)


def _read_state(path: Path, content: Any, options: LoadOptions) -> _Read:
    module, notes = module_of(path, content, options.arch)
    return _Read(_trace(module, options), notes=notes)


def _read_folder(path: Path, options: LoadOptions) -> _Read:
    found = read_folder(path, options.task, options.trust, {spec.name: spec.shape for spec in options.inputs})
    sample = dict(options.sample or found.sample)
    others = [spec for spec in options.inputs if spec.name not in sample]
    offered = () if options.fixed else found.dynamic
    asked = for_whole_text(options.dynamic, sample)
    exported, fixed = traced_freely(found.module, others, sample, asked, offered)
    kept = () if not options.fixed else (f"the sizes of the inputs are fixed: {_sizes(sample)}",)
    notes = (*found.notes, *fixed, *kept)
    return _Read(exported, None, notes, None if others else sample, found.sha256, found.companions)


def _sizes(sample: Sample) -> str:
    return ", ".join(f"{name}:{'x'.join(map(str, array.shape))}" for name, array in sample.items())


def _read_onnx(path: Path, options: LoadOptions) -> _Read:
    return _Read(*onnx.converted(path, options.inputs, options.sample, options.dynamic, options.max_archive_bytes))


_READERS: dict[Format, Callable[[Path, LoadOptions], _Read]] = {
    Format.EXPORTED: _read_exported,
    Format.TORCHSCRIPT: _read_torchscript,
    Format.CHECKPOINT: _read_checkpoint,
    Format.SAFETENSORS: _read_safetensors,
    Format.HUGGING_FACE: _read_folder,
    Format.ONNX: _read_onnx,
}


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


def _readable(path: Path) -> AbstractContextManager[None]:
    return foreign(f"'{path}' cannot be read", "copy or save the file again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
