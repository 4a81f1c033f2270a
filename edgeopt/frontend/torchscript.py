"""From a TorchScript module to an ExportedProgram."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgeopt.errors import UserError
from edgeopt.foreign import quiet
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.trace import example_inputs, trace, traceable
from edgeopt.ir.metrics import Arrays


def converted(
    module: torch.jit.ScriptModule,
    inputs: tuple[InputSpec, ...],
    sample: Arrays | None,
    dynamic: tuple[DynamicSpec, ...],
) -> tuple[ExportedProgram, list[str]]:
    """Return the module as an exported program, and the names of its inputs.

    Raises UserError where it takes anything but tensors, or cannot be traced.
    """
    from torch._export.converter import TS2EPConverter

    example = example_inputs(_tensor_arguments(module), inputs, sample)
    names = list(example)

    class Converter(TS2EPConverter):
        def retrace_as_exported_program(self, gm: GraphModule, name_to_constant: dict[str, Any]) -> ExportedProgram:
            # The original traces with every dimension dynamic, which no pooling to a fixed size survives.
            return trace(gm, inputs, sample, dynamic, names)

    with traceable(), quiet():
        return Converter(module, tuple(example.values())).convert(), names


def _tensor_arguments(module: torch.jit.ScriptModule) -> list[str]:
    """Return the names of the arguments of ``forward``; lists, optional ones and numbers are no inputs of a graph."""
    forward: Any = module.forward
    arguments = forward.schema.arguments[1:]  # without self
    for argument in arguments:
        if not isinstance(argument.type, torch.TensorType):
            raise UserError(
                f"argument '{argument.name}' of the TorchScript model is {argument.type.annotation_str}, not a tensor",
                "script a module around it whose forward takes tensors alone and passes the rest on",
            )
    return [argument.name for argument in arguments]
