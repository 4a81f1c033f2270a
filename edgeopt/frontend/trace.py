"""From a module to an ExportedProgram, with failures told in terms of the user's own code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from edgeopt.errors import EdgeoptError, UserError, nearest
from edgeopt.foreign import quiet, translated, user_line
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.samples import named
from edgeopt.ir.metrics import Arrays

_FIXED = re.compile(r"L\['(\w+)'\]\.size\(\)\[(\d+)\] as dynamic but your code specialized it .* constant \((\d+)\)")


def trace(
    module: nn.Module,
    inputs: Sequence[InputSpec] = (),
    sample: Arrays | None = None,
    dynamic: Sequence[DynamicSpec] = (),
    names: Sequence[str] | None = None,
) -> ExportedProgram:
    """Trace a module, which must be in evaluation mode.

    ``names`` are the inputs' names where the signature of ``forward`` does not tell them; inputs are then
    passed by position. Raises UserError where inputs are missing or unknown, or where torch.export cannot
    follow the code.
    """
    known = names or list(inspect.signature(module.forward).parameters)
    example = example_inputs(known, inputs, sample)
    shapes: dict[str, dict[int, Any] | None] = dict.fromkeys(example)
    for spec in dynamic:
        if spec.name not in example:
            raise UserError(f"the model has no input '{spec.name}'", nearest(spec.name, example))
        kind = Dim.DYNAMIC if spec.is_required else Dim.AUTO
        shapes[spec.name] = {**(shapes[spec.name] or {}), spec.axis: kind(min=spec.low, max=spec.high)}
        example[spec.name] = _at_least_two(example[spec.name], spec)
    args, kwargs = (tuple(example.values()), {}) if names else ((), example)
    dims = (tuple(shapes.values()) if names else shapes) if dynamic else None
    with traceable(), quiet(), torch.no_grad():
        return torch.export.export(module, args, kwargs, dynamic_shapes=dims)


def example_inputs(names: Sequence[str], inputs: Sequence[InputSpec], sample: Arrays | None) -> dict[str, torch.Tensor]:
    """Return tensors to trace with, in the order of the model's argument ``names``.

    Raises UserError where none is given or a name is unknown.
    """
    given = {name: torch.from_numpy(array) for name, array in named(sample or {}, names).items()}
    generator = torch.Generator().manual_seed(0)
    for spec in inputs:
        floats = spec.dtype.is_floating_point
        tensor = torch.randn(spec.shape, generator=generator) if floats else torch.ones(spec.shape)
        given[spec.name or names[0]] = tensor.to(spec.dtype)
    if not given:
        raise UserError(
            "the model carries no example inputs",
            f"give them: --input {names[0] if names else 'x'}:1x3x32x32, or --sample FILE.npz",
        )
    for name in given:
        if name not in names:
            raise UserError(f"the model has no input '{name}'", nearest(name, names))
    return {name: given[name] for name in names if name in given}


def _at_least_two(tensor: torch.Tensor, spec: DynamicSpec) -> torch.Tensor:
    """Widen a dimension of size 1: torch.export would take 1 for a constant.

    Raises UserError where there is no such dimension, or the example does not lie within its bounds.
    """
    if spec.axis >= tensor.dim():
        raise UserError(f"input '{spec.name}' has no dimension {spec.axis}", f"its rank is {tensor.dim()}")
    if not spec.low <= tensor.shape[spec.axis] <= spec.high:
        raise UserError(
            f"the example of input '{spec.name}' has size {tensor.shape[spec.axis]} in dimension {spec.axis}, "
            f"outside of {spec.low}..{spec.high}",
            "give an example or bounds that fit",
        )
    return torch.cat([tensor, tensor], spec.axis) if tensor.shape[spec.axis] == 1 else tensor


@contextmanager
def traceable() -> Iterator[None]:
    """Turn torch's tracing failures into a UserError that names the user's own source line."""
    try:
        yield
    except (EdgeoptError, KeyboardInterrupt):
        raise
    except GuardOnDataDependentSymNode as error:
        fact = "the model cannot be traced, because a shape or a branch depends on the values of its data"
        remedy = "replace the branch or .item() by tensor operations such as torch.where, or trace what is deployed"
        raise UserError(f"{fact}{user_line(error)}", remedy) from error
    except BaseException as error:
        if fixed := _FIXED.search(str(error)):
            raise UserError(
                f"the model fixes dimension {fixed[2]} of input '{fixed[1]}' at {fixed[3]}", "leave it out of --dynamic"
            ) from error
        remedy = (
            "check the shapes and dtypes of the inputs, or replace what depends on data or is not a tensor operation"
        )
        raise translated(error, "the model cannot be traced", remedy) from error
