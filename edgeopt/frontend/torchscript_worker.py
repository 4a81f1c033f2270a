"""From a TorchScript archive to one of torch.export: what runs in the other process, as a script."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgeopt.errors import EdgeoptError, UserError
from edgeopt.foreign import foreign, quiet
from edgeopt.frontend.inputs import DynamicSpec, InputSpec
from edgeopt.frontend.trace import example_inputs, trace, traceable
from edgeopt.ir.metrics import Arrays
from edgeopt.ops import register_all


def serve() -> None:
    """Answer requests, each a line, until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    torch.set_num_threads(1)
    register_all()
    for line in sys.stdin:
        request = json.loads(line)
        _limit_memory(request["memory"])
        try:
            with foreign(f"'{request['model']}' cannot be read", "copy or save the file again"):
                answer: dict[str, Any] = {"names": _write(request)}
        except EdgeoptError as error:
            answer = {"error": [error.message, error.hint]}
        print(json.dumps(answer), file=answers, flush=True)


def _limit_memory(size: int) -> None:
    """Let this process fail to get more memory for data than ``size`` bytes, where the system can."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))


def _write(request: dict[str, Any]) -> list[str]:
    """Write the exported program of a request, and return the names of its inputs."""
    for library in request["libraries"]:
        torch.ops.load_library(library)
    inputs, sample, dynamic = pickle.loads(Path(request["request"]).read_bytes())
    module = torch.jit.load(request["model"], map_location="cpu").eval()
    exported, names = converted(module, inputs, sample, dynamic)
    saved = io.BytesIO()  # torch ends the process where the disk is full
    with quiet():
        torch.export.save(exported, saved)
    Path(request["output"]).write_bytes(saved.getbuffer())
    return names


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


if __name__ == "__main__":
    from edgeopt.frontend import torchscript_worker  # by this name its lines are known for edgeopt's own

    torchscript_worker.serve()
