"""From an ONNX file to an ExportedProgram: its nodes as torch operators, traced like any module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from edgeopt.errors import UserError
from edgeopt.foreign import quiet
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.onnx.files import read_model
from edgeopt.frontend.onnx.inputs import OnnxInput, examples, fixed, inputs_of, sizes_to_trace
from edgeopt.frontend.onnx.module import OnnxModule
from edgeopt.frontend.samples import named
from edgeopt.frontend.trace import traceable
from edgeopt.ir.metrics import Arrays
from edgeopt.ops import register_all


def converted(
    path: Path, specs: Sequence[InputSpec], sample: Arrays | None, dynamic: Sequence[DynamicSpec], max_bytes: int
) -> tuple[ExportedProgram, list[str], tuple[str, ...]]:
    """Return the model as an exported program, the names of its inputs, and what is to be told of them.

    Sizes that the file leaves open may vary in the program, too, unless ``specs`` give them; where ``dynamic`` says
    which vary, these alone do. Raises UserError where the file is unsafe, damaged, or holds what has no translation.
    """
    register_all()
    model = read_model(path, max_bytes)
    inputs = inputs_of(model)
    identifiers = [one.identifier for one in inputs]
    given = None if sample is None else _by_identifier(inputs, named(sample, identifiers))
    inputs = fixed(inputs, specs, given, dynamic)
    module = OnnxModule(model).eval()
    exported, notes = _traced(module, inputs, given, dynamic)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of the translation, and not of the user's
    renamed = tuple(f"input '{i.name}' is called '{i.identifier}'" for i in inputs if i.name != i.identifier)
    return exported, identifiers, (*renamed, *notes)


def _by_identifier(inputs: Sequence[OnnxInput], sample: Arrays) -> Arrays:
    identifiers = {one.name: one.identifier for one in inputs}
    return {identifiers.get(name, name): array for name, array in sample.items()}


def _traced(
    module: OnnxModule, inputs: list[OnnxInput], sample: Arrays | None, dynamic: Sequence[DynamicSpec]
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Trace with sizes that may vary; those that the model itself fixes are found, and traced once more as fixed."""
    sizes = sizes_to_trace(inputs, sample)
    exported = _export(module, inputs, sizes, dynamic)
    settled = _settled(exported, inputs)
    if not settled:
        return exported, ()
    if dynamic:
        raise UserError(f"the model fixes the size '{next(iter(settled))}'", "leave it out of --dynamic")
    batch = {dim for one in inputs for dim in one.dims[:1]}
    chosen = {dim: 1 if dim in batch else sizes[dim] for dim in settled}
    notes = tuple(
        f"the model fixes the size '{dim}', which the file leaves open: {size}" for dim, size in chosen.items()
    )
    inputs = [
        OnnxInput(i.name, i.identifier, tuple(chosen.get(str(dim), dim) for dim in i.dims), i.dtype) for i in inputs
    ]
    return _export(module, inputs, sizes, ()), notes


def _export(
    module: OnnxModule, inputs: Sequence[OnnxInput], sizes: dict[str, int], dynamic: Sequence[DynamicSpec]
) -> ExportedProgram:
    bounds = {(spec.name, spec.axis): Dim.DYNAMIC(min=spec.low, max=spec.high) for spec in dynamic}
    shapes: list[dict[int, Any]] = []
    for one in inputs:
        varying = {axis: Dim.AUTO for axis, dim in enumerate(one.dims) if isinstance(dim, str)}
        shapes.append({axis: bounds.get((one.identifier, axis), how) for axis, how in varying.items()})
    tensors = tuple(examples(inputs, sizes))
    with traceable(), quiet(), torch.no_grad():
        return torch.export.export(module, tensors, dynamic_shapes=(tuple(shapes),) if any(shapes) else None)


def _settled(exported: ExportedProgram, inputs: Sequence[OnnxInput]) -> list[str]:
    """Return the names of sizes that were to vary and do not."""
    names = exported.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder"}
    return list(
        dict.fromkeys(
            dim
            for name, one in zip(names, inputs, strict=True)
            for size, dim in zip(values[name].shape, one.dims, strict=True)
            if isinstance(dim, str) and isinstance(size, int)
        )
    )
