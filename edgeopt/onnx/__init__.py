"""Program to ONNX: standard operators by torch.onnx, our own as model-local functions in the domain ``edgeopt``.

What is written depends on the program alone: no source lines, paths, dates or versions, so that two exports of
a model are equal byte for byte.
"""

from __future__ import annotations

import copy
import json
import logging
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram

from edgeopt.decompositions import refused, write_out
from edgeopt.decompositions.complex_numbers import in_pairs
from edgeopt.decompositions.doubles import with_all_digits
from edgeopt.errors import EdgeoptError, Placement, ToolchainMissing, Unsupported
from edgeopt.foreign import add_libraries
from edgeopt.ir.attribution import marked
from edgeopt.ir.canonical import canonicalize
from edgeopt.ir.convert import to_exported
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, op_name
from edgeopt.onnx import names as onnx_names
from edgeopt.ops.operator import OPERATORS, onnx_functions

if TYPE_CHECKING:
    import onnx_ir as ir

add_libraries(("onnx", "onnxscript", "onnx_ir", "onnxruntime"))

DOMAIN = "edgeopt"
OPSET = 20
"""Opset of everything written here. Functions of our operators use ``onnxscript.opset20`` and say that they
return something (``-> object``): torch.onnx counts results by the annotation."""

_TORCH_OPSET = 18  # what torch.onnx writes without converting

INSTALL = "pip install 'edgeopt[onnx]'"
EXTERNAL_DATA_ABOVE = 64 * 2**20
"""Bytes of weights above which they go to a file of their own, which is read without a second copy in memory."""

OUTPUTS = "edgeopt.outputs"


@dataclass(frozen=True)
class Translation:
    """A model in ONNX's intermediate representation, and what had to be done otherwise than usual."""

    model: ir.Model
    notes: tuple[str, ...] = ()


Functions = Mapping[str, Callable[[], Callable[..., Any]]]
"""What operators are in ONNX, by schema name, as ``Operator.onnx`` has them."""

Rewrite = Callable[[Program], list[Placement]]


def translate(program: Program, keep: Collection[str] | None = None, functions: Functions | None = None) -> Translation:
    """Return the program in ONNX, inputs and outputs under the program's names.

    ``keep`` names the functions (``BinaryLinear``) that stay calls in the domain ``edgeopt``; all others are
    inlined; None keeps all. ``functions`` take the place of the registered ones of the same operators. Where
    torch.onnx fails on the program as it stands, the program decomposed to core ATen is tried, and a note says so.
    Raises Unsupported where operators have no translation, EdgeoptError
    where torch.onnx fails otherwise, ToolchainMissing without onnx.
    """
    _require_onnx()
    exported = exportable(program, with_all_digits)
    notes: tuple[str, ...] = ()
    with quiet():
        try:
            model = _torch_to_onnx(exported, functions)
        except Exception as failure:
            if placements := untranslatable(program):
                raise Unsupported("onnx", placements) from failure
            notes = (f"decomposed to core ATen before ONNX, because torch.onnx failed: {_reason(failure)}",)
            model = _translate_decomposed(exported, functions, failure)
        _simplify(model, keep)
    onnx_names.set_names(model, program.output_names)
    _strip(model)
    model.metadata_props[OUTPUTS] = json.dumps(program.output_names)
    return Translation(model, notes)


def save(model: ir.Model, path: Path) -> tuple[str, ...]:
    """Write the model, its weights beside it where they are large, and check it; return the file names.

    Raises EdgeoptError where the model is not legal ONNX.
    """
    import onnx
    import onnx_ir as ir

    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    data = f"{path.name}.data" if weights > EXTERNAL_DATA_ABOVE else None
    ir.save(model, path, external_data=data)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EdgeoptError(
            f"torch.onnx wrote what is not legal ONNX: {_reason(error)}",
            "give the operator that it names another type in forward(), or choose another target",
        ) from error
    return (path.name,) if data is None else (path.name, data)


def output_names(metadata: dict[str, str]) -> list[str]:
    """Return the program's output names from the metadata of a model written here, in the model's order."""
    names: list[str] = json.loads(metadata[OUTPUTS])
    return names


def untranslatable(program: Program) -> list[Placement]:
    """Return every node that is refused, or else that neither torch.onnx nor a registered function translates."""
    from torch.onnx._internal.exporter import _core

    _require_onnx()
    with quiet():
        registry = _registry()
        try:
            spelled = exportable(program)
        except Unsupported as error:
            return list(error.placements)
        failing = _unknown(spelled, registry)
        if failing:  # as they stand: torch.onnx decomposes these, and only these
            failing = _unknown(_core._prepare_exported_program_for_export(spelled, registry=registry), registry)
    # What one node of the program was decomposed to is named once.
    owners = {marked(node) or node.name: node for node in reversed(failing)}
    nodes = {name: program.node(name) or node for name, node in reversed(owners.items())}
    return [Placement(name, op_name(node), "ONNX has no translation of this operator") for name, node in nodes.items()]


def _unknown(exported: ExportedProgram, registry: Any) -> list[fx.Node]:
    """Return the nodes that the registry has no translation of."""
    from torch.onnx._internal.exporter import _dispatching

    return [
        node
        for node in exported.graph.nodes
        if node.op == "call_function"
        and node.target is not operator.getitem
        and _dispatching.dispatch(node, registry)[0] is None
    ]


def exportable(program: Program, rewrite: Rewrite = lambda program: []) -> ExportedProgram:
    """Return the program in a spelling that exporters take, with the same values.

    ``rewrite``: of one exporter alone, before and after operators are written out; it changes a program in place and
    returns the nodes that it refuses. Raises Unsupported where operators are refused, and where complex numbers pass in
    or out, or cannot be written as pairs of real ones.
    """
    if placements := refused(program):
        raise Unsupported("onnx", placements, "choose a target that runs torch, or write them by other operators")
    program = program.clone()
    in_pairs(program, "onnx")
    placements = rewrite(program)
    if write_out(program):
        placements = rewrite(program)
        canonicalize(program)
    if placements:
        raise Unsupported("onnx", placements, "cast to float32 before it, or state the number as a tensor in float64")
    _separate_outputs(program)
    _make_dense(program)
    program.clean()
    exported = to_exported(program)
    onnx_names.mark(exported)
    return exported


def _separate_outputs(program: Program) -> None:
    """Make every output a value of its own: none an input, a constant or another output."""
    results: list[fx.Node] = []
    for node in program.results:
        is_own = node.op == "call_function" and node not in results
        results.append(node if is_own else program.insert(program.output_node, aten.clone.default, node))
    program.output_node.args = (tuple(results),)


def _make_dense(program: Program) -> None:
    """Copy what a reshape reads.

    torch decomposes a reshape to a view by the strides it expects, and fails where an operator before it is
    decomposed to other strides. ONNX knows no strides: the copy leaves no trace.
    """
    for node in list(program.calls):
        source = node.args[0] if node.target is aten.reshape.default else None
        if isinstance(source, fx.Node) and source.op == "call_function":
            copy = program.insert(node, aten.clone.default, source, memory_format=torch.contiguous_format)
            node.replace_input_with(source, copy)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch.onnx, onnxscript and their warnings off the console."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ToolchainMissing("onnx", INSTALL) from error


# -- translation ---------------------------------------------------------------------------------------


def _torch_to_onnx(exported: ExportedProgram, functions: Functions | None) -> ir.Model:
    # torch.onnx.export does this and then converts the opset, inlining our functions.
    from torch.onnx._internal.exporter import _core

    model = _core.exported_program_to_ir(exported, registry=_registry(functions))
    onnx_names.note_names(model)
    return model


def _translate_decomposed(exported: ExportedProgram, functions: Functions | None, failure: Exception) -> ir.Model:
    try:
        return _torch_to_onnx(exported.run_decompositions(), functions)
    except Exception:
        raise EdgeoptError(
            f"torch.onnx cannot translate the program: {_reason(failure)}",
            "choose a target that does not go through ONNX, or rewrite the operator it names",
        ) from failure


def _translation_table(functions: Functions | None) -> dict[Any, Callable[..., Any]]:
    """Return our operators' ONNX functions by operator overload."""
    builders = {**onnx_functions(), **(functions or {})}
    return {OPERATORS[name].overload: _built(build) for name, build in builders.items()}


@cache
def _built(build: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """Return an operator's ONNX function, which onnxscript takes a while to read."""
    return build()


@cache
def _torchlib() -> Any:
    """Return torch.onnx's own translations, which take seconds to read."""
    from torch.onnx._internal.exporter import _registration

    return _registration.ONNXRegistry.from_torchlib(_TORCH_OPSET)


def _registry(functions: Functions | None = None) -> Any:
    registry = copy.copy(_torchlib())
    registry.functions = {target: list(found) for target, found in registry.functions.items()}
    for overload, function in _translation_table(functions).items():
        registry.register_op(overload, function)
    return registry


def _reason(error: BaseException) -> str:
    """Return the innermost cause in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:200]}"


# -- tidying -------------------------------------------------------------------------------------------


def _simplify(model: ir.Model, keep: Collection[str] | None) -> None:
    """Convert to ``OPSET``, inline what is not kept, fold constants, share equal ones and drop what is dead."""
    from onnx_ir import passes
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants
    from onnxscript.version_converter import convert_version

    common.InlinePass(lambda function: function.domain != DOMAIN)(model)
    # Ours are of the wanted opset already; the converter takes a graph without functions.
    ours = dict(model.functions)
    model.functions.clear()
    convert_version(model, OPSET)
    model.functions.update(ours)
    common.InlinePass(lambda function: keep is not None and function.name not in keep)(model)
    fold_constants(model)
    _drop_zero_points(model)
    types = [(value.type, value.shape) for value in model.graph.outputs]
    passes.Sequential(
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedOpsetsPass(),
    )(model)
    _own_outputs(model.graph)
    for value, (type_, shape) in zip(model.graph.outputs, types, strict=True):
        # Sharing equal expressions puts a value in an output's place whose type nobody has inferred.
        value.type, value.shape = value.type or type_, value.shape or shape


def _own_outputs(graph: ir.Graph) -> None:
    """Let a node of each graph compute each of its outputs, which ONNX demands: dropping identities leaves inputs,
    constants, values of outer graphs and other outputs in their place.

    onnx_ir's own ``OutputFixPass`` gives an input that is an output another name.
    """
    import onnx_ir as ir

    for inner in (graph, *graph.subgraphs()):
        for index, value in enumerate(inner.outputs):
            producer = value.producer()
            if producer is None or producer.graph is not inner or value in inner.outputs[:index]:
                copy = ir.Value(type=value.type, shape=value.shape)
                inner.append(ir.node("Identity", [value], outputs=[copy]))
                inner.outputs[index] = copy


def _drop_zero_points(model: ir.Model) -> None:
    """Leave out the zero points of symmetric weights, which are zero when absent.

    A runtime may compute a layer in float where it meets a zero point that several layers share.
    """
    for node in model.graph.all_nodes():
        if node.op_type == "DequantizeLinear" and (zero_point := node.inputs[2]) is not None:
            constant = zero_point.const_value
            if constant is not None and constant.shape.rank() and not constant.numpy().any():
                node.resize_inputs(2)


def _strip(model: ir.Model) -> None:
    """Remove stack traces, doc strings and the producer's name and version."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.producer_name = DOMAIN
    model.producer_version = None
