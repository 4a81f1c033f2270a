"""The inputs of an ONNX model: their names as torch takes them, and sizes to trace with, which may vary at run time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import TYPE_CHECKING

import torch

from edgeopt.errors import UserError, nearest
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.onnx.dtypes import torch_dtype
from edgeopt.ir.metrics import Arrays
from edgeopt.ir.naming import distinct

if TYPE_CHECKING:
    import onnx

_BATCH = 2
"""Size of a first axis that may vary: torch takes 1 for a constant."""
_SPATIAL = 64
_LENGTH = 16


@dataclass(frozen=True)
class OnnxInput:
    """An input: ``name`` in the file, ``identifier`` in the program; sizes are numbers, or names of what may vary."""

    name: str
    identifier: str
    dims: tuple[int | str, ...]
    dtype: torch.dtype


def inputs_of(model: onnx.ModelProto) -> list[OnnxInput]:
    """Return the inputs of a model without those that have initializers.

    Raises UserError where one is not a tensor, or its number of axes is not known.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in constants]
    identifiers = distinct([_identifier(value.name) for value in values])
    return [_input(value, identifier) for value, identifier in zip(values, identifiers, strict=True)]


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name)
    return f"input_{name}" if not name.isidentifier() or iskeyword(name) else name


def _input(value: onnx.ValueInfoProto, identifier: str) -> OnnxInput:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise UserError(
            f"input '{value.name}' of the ONNX model is not a tensor of a known number of axes",
            "export the model to ONNX with shapes of its inputs",
        )
    dims: list[int | str] = []
    for axis, dim in enumerate(kind.shape.dim):
        is_fixed = dim.HasField("dim_value") and dim.dim_value > 0
        dims.append(dim.dim_value if is_fixed else dim.dim_param or f"{value.name}:{axis}")
    return OnnxInput(value.name, identifier, tuple(dims), torch_dtype(kind.elem_type))


def fixed(
    inputs: Sequence[OnnxInput], specs: Sequence[InputSpec], sample: Arrays | None, varying: Sequence[DynamicSpec]
) -> list[OnnxInput]:
    """Return the inputs with sizes that ``specs`` give; all that bear the name of such a size have it.

    Where dimensions are said to vary, all others are as in the sample, or as the specs say. Raises UserError where a
    spec names no input, or its sizes do not fit the file's.
    """
    known: dict[str, int] = {}
    for spec in specs:
        known |= _sizes(_named(inputs, spec.name), spec.shape)
    if varying:
        for name, array in (sample or {}).items():
            known = _sizes(_named(inputs, name), array.shape) | known
        for one in varying:
            found = _named(inputs, one.name)
            if one.axis < len(found.dims):
                known.pop(str(found.dims[one.axis]), None)
    return [replace(found, dims=tuple(known.get(str(dim), dim) for dim in found.dims)) for found in inputs]


def _named(inputs: Sequence[OnnxInput], name: str) -> OnnxInput:
    if not name and len(inputs) == 1:
        return inputs[0]
    found = next((one for one in inputs if name in (one.name, one.identifier)), None)
    if found is None:
        raise UserError(f"the model has no input '{name}'", nearest(name, [one.identifier for one in inputs]))
    return found


def _sizes(found: OnnxInput, shape: Sequence[int]) -> dict[str, int]:
    fits = len(shape) == len(found.dims) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(found.dims, shape, strict=True)
    )
    if not fits:
        raise UserError(
            f"input '{found.name}' is given as {'x'.join(map(str, shape))}",
            f"the ONNX model reads {'x'.join(map(str, found.dims))}",
        )
    return {dim: size for dim, size in zip(found.dims, shape, strict=True) if isinstance(dim, str)}


def sizes_to_trace(inputs: Sequence[OnnxInput], sample: Arrays | None) -> dict[str, int]:
    """Return a size of at least 2 for each name of what may vary: the sample's, or one of its own for each."""
    sizes: dict[str, int] = {}
    for one in inputs:
        array = (sample or {}).get(one.identifier)
        for axis, dim in enumerate(one.dims):
            if isinstance(dim, int) or dim in sizes:
                continue
            given = array.shape[axis] if array is not None and array.ndim == len(one.dims) else 0
            sizes[dim] = given if given > 1 else _guess(axis, len(one.dims), set(sizes.values()))
    return sizes


def _guess(axis: int, rank: int, taken: set[int]) -> int:
    size, step = (_BATCH, 1) if axis == 0 else (_SPATIAL, _SPATIAL) if rank == 4 and axis > 1 else (_LENGTH, 1)
    while size in taken:
        size += step
    return size


def examples(inputs: Sequence[OnnxInput], sizes: dict[str, int]) -> list[torch.Tensor]:
    """Return tensors to trace with: normal floats, and ones."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for one in inputs:
        shape = [dim if isinstance(dim, int) else sizes[dim] for dim in one.dims]
        InputSpec(one.identifier, tuple(shape), one.dtype).check(one.name)
        floats = one.dtype.is_floating_point
        made.append((torch.randn(shape, generator=generator) if floats else torch.ones(shape)).to(one.dtype))
    return made
