"""Program to OpenVINO: by way of ONNX, or from torch directly where that fails, and saved reproducibly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import fx

from edgeopt import onnx
from edgeopt.analysis.intervals import Interval
from edgeopt.errors import EdgeoptError, Placement, ToolchainMissing, Unsupported
from edgeopt.ir.attribution import marked
from edgeopt.ir.program import Program, op_name, to_numpy
from edgeopt.onnx.names import PREFIX, program_name
from edgeopt.targets.openvino.native import NONE, Kernels, fuse
from edgeopt.targets.openvino.reductions import keep_axes
from edgeopt.targets.openvino.sdk import openvino

OUTPUTS = ["edgeopt", "outputs"]
"""Where the IR keeps the names of its outputs: OpenVINO's own names are sets without an order."""
INTEGERS = ["edgeopt", "integer_inputs"]
"""Where it keeps between which numbers inputs have to lie that are integers, or become some."""

# What a partial conversion leaves where an operator has no rule, by front end.
_LEFT_OVER = ("NotSupportedONNXNode", "ONNXFrameworkNode", "PtFrameworkNode")
_ABSENT = "NullNode"


@dataclass(frozen=True)
class Conversion:
    """An OpenVINO model with notes on how it was reached, or the nodes that stand in the way."""

    model: Any | None
    unplaced: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()


def convert(program: Program, scratch: Path, kernels: Kernels = NONE) -> Conversion:
    """Convert a program; ``scratch`` is a folder for intermediate files.

    Operators that have a kernel in ``kernels`` become nodes that it runs, all others standard operators.
    """
    conversion = _converted(program, scratch, kernels)
    if conversion.model is not None:
        keep_axes(conversion.model)
    return conversion


def _converted(program: Program, scratch: Path, kernels: Kernels) -> Conversion:
    through_onnx = _convert_through_onnx(program, scratch, kernels)
    if through_onnx.model is not None:
        return through_onnx
    direct = _convert_directly(program)
    if direct.model is None:
        return through_onnx
    reasons = "; ".join(sorted({f"{p.node} ({p.op}): {p.reason}" for p in through_onnx.unplaced}))
    return Conversion(direct.model, notes=(f"imported from torch directly, because ONNX fails: {reasons}",))


def save(model: Any, program: Program, path: Path, integers: Mapping[str, Interval]) -> None:
    """Write ``path`` (.xml) and its .bin: uncompressed, and the same bytes for the same program.

    ``integers``: between which numbers inputs have to lie.
    """
    _name(model, program)
    if integers:
        model.set_rt_info(json.dumps(integers), INTEGERS)
    openvino().save_model(model, path, compress_to_fp16=False)


def _convert_through_onnx(program: Program, scratch: Path, kernels: Kernels) -> Conversion:
    path = scratch / "model.onnx"
    try:
        translation = onnx.translate(program, keep=(), functions=kernels.functions)
        fuse(translation.model)
        onnx.save(translation.model, path)
    except Unsupported as error:
        return Conversion(None, error.placements)
    except ToolchainMissing:
        raise
    except EdgeoptError as error:
        return Conversion(None, (Placement("the program", "torch.onnx", error.message),))
    frontend = openvino().frontend.FrontEndManager().load_by_framework("onnx")
    for library in kernels.libraries.values():
        frontend.add_extension(str(library))
    # True: weights in a file of their own are mapped, not read.
    model = frontend.convert_partially(frontend.load(str(path), True))
    if unplaced := _left_over(model, program):
        return Conversion(None, unplaced)
    return Conversion(model, notes=translation.notes)


def _convert_directly(program: Program) -> Conversion:
    frontend = openvino().frontend.FrontEndManager().load_by_framework("pytorch")
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    computed = _with_computed_outputs(program)
    try:
        with onnx.quiet():
            decoder = TorchFXPythonDecoder.from_exported_program(onnx.exportable(computed))
            model = frontend.convert_partially(frontend.load(decoder))
            _name_after_program(model, decoder.pt_module.graph)
    except Exception as error:
        return Conversion(None, (Placement("the program", "torch", str(error).splitlines()[0]),))
    if unplaced := _left_over(model, program):
        return Conversion(None, unplaced)
    shapes = {
        port: openvino().PartialShape([dim if isinstance(dim, int) else -1 for dim in spec.shape])
        for port, spec in zip(model.inputs, program.inputs, strict=True)
    }
    model.reshape(shapes)
    return Conversion(_with_all_outputs(model, program, computed))


def _name_after_program(model: Any, decomposed: fx.Graph) -> None:
    """Put the name of the program's node before what the torch front end calls after a node of its own graph."""
    owners = {node.name: marked(node) for node in decomposed.nodes}
    for operator in model.get_ordered_ops():
        name = operator.get_friendly_name()
        if (owner := owners.get(name.split("/")[0])) is not None:
            operator.set_friendly_name(f"{PREFIX}{owner}/{name}")


def _with_computed_outputs(program: Program) -> Program:
    """Return the program without outputs that are inputs, constants or repeated: the torch front end fails on them."""
    program = program.clone()
    named = {node: name for name, node in zip(program.output_names, program.results, strict=True)}
    computed = {node: name for node, name in named.items() if node.op == "call_function"}
    program.output_node.args = (tuple(computed),)
    program.output_names = tuple(computed.values())
    return program


def _with_all_outputs(model: Any, program: Program, computed: Program) -> Any:
    """Return the model of ``computed`` with the outputs of ``program``."""
    from openvino import opset13

    sources = {
        node.name: result.input_value(0) for node, result in zip(computed.results, model.get_results(), strict=True)
    }
    for node, parameter in zip(program.input_nodes, model.get_parameters(), strict=True):
        sources[node.name] = parameter.output(0)
    for node in program.results:
        if (tensor := program.constant(node)) is not None:
            sources[node.name] = opset13.constant(to_numpy(tensor)).output(0)
    results = [opset13.result(sources[node.name]) for node in program.results]
    return openvino().Model(results, model.get_parameters(), "program")


def _left_over(model: Any, program: Program) -> tuple[Placement, ...]:
    """Return a placement for every operator that the front end left as it was."""
    # What computes an output is called after the output by the front end.
    nodes = {node.name: node for node in program.calls} | dict(zip(program.output_names, program.results, strict=True))
    found: dict[str, str] = {}
    for operator in model.get_ordered_ops():
        left = operator.get_type_name() in _LEFT_OVER
        # What reads an optional input that is absent has been converted no better.
        readers = operator.output(0).get_target_inputs() if operator.get_type_name() == _ABSENT else ()
        for one in (*([operator] if left else ()), *(reader.get_node() for reader in readers)):
            name = program_name(one.get_friendly_name())
            node = nodes.get(name)
            # Asking such a node for its attributes ends the process.
            found[node.name if node else name] = op_name(node) if node else one.get_type_name()
    return tuple(Placement(name, kind, "OpenVINO has no conversion of this operator") for name, kind in found.items())


def _name(model: Any, program: Program) -> None:
    """Name inputs and outputs after the program's, and number the nodes that OpenVINO named by a global count.

    What computes an output is called after the output by the front end; it is given the name of the program's node.
    """
    for index, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}_{index}")
    for result, node, name in zip(model.get_results(), program.results, program.output_names, strict=True):
        source = result.input_value(0).get_node()
        if node.op == "call_function" and source.get_friendly_name() == name:
            source.set_friendly_name(f"{PREFIX}{node.name}")
    for port, spec in zip(model.inputs, program.inputs, strict=True):
        port.get_tensor().set_names({spec.name})
        port.get_node().set_friendly_name(spec.name)
    model.set_rt_info(json.dumps(program.output_names), OUTPUTS)
