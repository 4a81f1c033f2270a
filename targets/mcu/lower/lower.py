"""From a program with quantize and dequantize pairs to integers only.

    dq -> operator [-> rectifier] -> q    =>    one node of the integer graph

Scales become multipliers, a rectifier becomes the clamp of the node in front of it, padding becomes part of the window
that reads it, and reshapes vanish. Activations change from (N, C, H, W) to (H, W, C); where a map was flattened into a
vector, the weights of the layer that reads it are put into the new order. What no
kernel takes stays in float between integers: as a table, or compiled by TVM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.errors import EdgeoptError, Placement, ToolchainMissing
from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, op_name
from edgeopt.ir.rewrite import arguments
from edgeopt.kernels.mcu.reference import Clamp
from edgeopt.ops.operator import OPERATORS, kernel_for
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE
from edgeopt.quant.qparams import Affine, to_integers
from edgeopt.quant.scheme import CONCATENATIONS, MOVES, NORMS, PRODUCTS, RECTIFIERS, Scheme
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.graph.strides import canonical
from edgeopt.targets.mcu.graph.tensor import Tensor
from edgeopt.targets.mcu.lower import binary as lower_signs
from edgeopt.targets.mcu.lower import feature_maps as lower_maps
from edgeopt.targets.mcu.lower import tokens as lower_tokens
from edgeopt.targets.mcu.lower.region import Region, collect, tabulate
from edgeopt.targets.mcu.lower.state import Lowering, Refused, Value, copied, map_shape, shape_of
from edgeopt.targets.mcu.nodes.copy import Copy
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.table import Table

NAME = "mcu"
"""What operators call this target by."""

Lower = Callable[[Lowering, fx.Node, Tensor, Clamp], Value]
"""What adds the node of an operator to the integer graph, given its result and where output bytes may lie.

It raises Refused where the kernel does not take it."""

SCHEME = Scheme(
    activation=torch.int8,
    integer=frozenset(
        {
            aten.conv2d.default, aten.linear.default, aten.add.Tensor, aten.avg_pool2d.default,
            aten.adaptive_avg_pool2d.default, aten.mean.dim, aten.softmax.int, *PRODUCTS, *NORMS, *CONCATENATIONS,
        }
    ),
    float_beside=False,
    symmetric_products=True,
    constant_sums=True,
)  # fmt: skip
"""What edgeopt's own kernels compute; the rest of a program is placed nowhere."""


def scheme() -> Scheme:
    """Return what kernels compute: edgeopt's own, and those that operators of other packages bring."""
    brought = {operator.overload for operator in OPERATORS.values() if NAME in operator.kernels}
    return replace(SCHEME, integer=SCHEME.integer | brought)


def lower_program(program: Program) -> tuple[IntegerGraph, list[Placement]]:
    """Return the integer graph, and every node that has no place in it with the reason.

    The graph is complete only where the list is empty.
    """
    state = Lowering(program)
    for node in program.calls:
        source: Any = node.args[0]
        if node.target is DEQUANTIZE and source in state.values:
            state.values[node] = state.values[source]
        elif node.target is QUANTIZE:
            state.values[node] = _quantized(state, node)
        elif node.target in lower_tokens.MOVES_OF_PLACES and source in state.values:
            _moved(state, node)
    _refuse_the_rest(state)
    outputs = _outputs(state)
    inputs = tuple(spec.name for spec in program.inputs if spec.name in state.tensors)
    return _without_dead(IntegerGraph(state.tensors, tuple(state.nodes), inputs, outputs)), state.refused


def _outputs(state: Lowering) -> tuple[str, ...]:
    """The tensors of the outputs that are there as integers; the others are reported."""
    found = []
    for name, node in zip(state.program.output_names, state.program.results, strict=True):
        try:
            if node not in state.values:
                raise Refused("it is not the result of an integer operator")
            found.append(state.plain(state.values[node]).name)
        except Refused as refusal:
            state.refused.append(Placement(name, "output", str(refusal)))
    return tuple(found)


def _moved(state: Lowering, node: fx.Node) -> None:
    """A move whose result is not quantized anew: integers are moved as they are, whoever reads them."""
    tensor = state.values[node.all_input_nodes[0]].tensor
    with suppress(Refused):
        state.values[node] = lower_tokens.move(state, node, tensor, Clamp(tensor.zero_point))
        state.covered.add(node)


def _without_dead(graph: IntegerGraph) -> IntegerGraph:
    """The graph without what nothing reads: copies for an operator that was refused in the end."""
    used, nodes = {*graph.outputs, *graph.inputs}, list[Node]()
    for node in reversed(graph.nodes):
        if node.output in used:
            nodes.insert(0, node)
            used |= {*node.inputs}
    return replace(graph, nodes=tuple(nodes), tensors={k: v for k, v in graph.tensors.items() if k in used})


def _refuse_the_rest(state: Lowering) -> None:
    """Report what is left in float: operators without a kernel or without a range, inputs and outputs."""
    for node in state.program.calls:
        if node in state.covered or node.target in (QUANTIZE, DEQUANTIZE):
            continue
        known = node.target in RECTIFIERS or _lowering(node.target) is not None
        reason = "it is left in float: no range was calibrated for what it reads or returns" if known else "no kernel"
        state.refused.append(Placement(node.name, op_name(node), reason))
    for node in state.program.input_nodes:
        if node.name not in state.tensors:
            reason = f"it is {node.meta['val'].dtype} and read as such: inputs are quantized to int8"
            state.refused.append(Placement(node.name, "input", reason))


def _quantized(state: Lowering, node: fx.Node) -> Value:
    """The value behind a quantize node, its producer lowered."""
    source: Any
    affine: Any
    source, affine = node.args[0], node.args[1:3]
    scale, zero_point = (state.program.constants[constant.name] for constant in affine)
    if scale.dim():
        state.refused.append(Placement(node.name, op_name(node), "it has a scale for each channel: kernels have one"))
        scale, zero_point = scale[0], zero_point[0]
    # uint8 around z and int8 around z - 128 stand for the same numbers.
    zero = int(zero_point) - (128 if zero_point.dtype == torch.uint8 else 0)
    tensor = Tensor(source.name, map_shape(shape_of(source)), float(scale), zero)
    if (stored := state.program.constant(source)) is not None:
        return _stored(state, source, stored, tensor)
    if source.op == "placeholder":
        state.tensors[tensor.name] = tensor
        return Value(tensor, shape_of(source))
    rectifier = source if source.target in RECTIFIERS else None
    operator = source.args[0] if rectifier else source
    state.covered |= {source, operator}
    try:
        lower = _lowering(operator.target)
        if lower is None:
            raise Refused("no kernel")
        return lower(state, operator, tensor, _clamp(rectifier, tensor))
    except (Refused, ValueError) as refusal:
        return _in_float(state, operator, source, tensor, str(refusal))


def _stored(state: Lowering, source: fx.Node, values: torch.Tensor, y: Tensor) -> Value:
    """A constant that is read like an activation, such as the class token."""
    integers = to_integers(values, Affine(torch.tensor(y.scale), torch.tensor(y.zero_point, dtype=torch.int8)))
    order = canonical(shape_of(source))
    stored = integers.reshape(-1)[order.reshape(-1).argsort()].numpy()
    pieces = tuple(replace(piece, constant=stored) for piece in copied(order, order))
    return state.add(Copy(source.name, (), y.name, pieces, y.shape), y, shape_of(source))


def _in_float(state: Lowering, operator: fx.Node, end: fx.Node, y: Tensor, refusal: str) -> Value:
    """What no kernel takes: as a table, or compiled by TVM; refused where neither goes."""
    beside = ""
    try:
        region = collect(state.program, end, state.values.keys())
        if any(node.target in lower_signs.LAYERS for node in region.nodes):
            raise Refused("what TVM compiles has no layers of signs")
        others = dict.fromkeys(op_name(node) for node in region.nodes if node not in (operator, end))
        beside = f", nor for {', '.join(others)} beside it" if others else ""
        state.covered |= set(region.nodes)
        values = [state.operand(source) for source in region.sources]
        if region.is_table and values[0].shape == shape_of(end):
            (x,), places = state.alike(values)
            y = replace(y, shape=x.shape)
            table = Table(end.name, (x.name,), y.name, tabulate(region, x, y))
            return state.add(table, y, shape_of(end), places)
        sources = [state.plain(value) for value in values]
        return state.add(_compiled(region, sources, y), y, shape_of(end))
    except (Refused, ValueError, ToolchainMissing) as failure:
        state.refused.append(Placement(operator.name, op_name(operator), f"{refusal}{beside}; {failure}"))
        return Value(y, shape_of(end))


def _compiled(region: Region, sources: Sequence[Tensor], y: Tensor) -> Node:
    """A region as code of TVM's; refused where that part of the target is not installed."""
    try:
        from edgeopt.targets.mcu.tvm.generate import compile_region
    except ModuleNotFoundError as error:
        raise Refused("edgeopt is installed without its part for TVM, which would compile it") from error
    return compile_region(region, sources, y)


def _clamp(rectifier: fx.Node | None, tensor: Tensor) -> Clamp:
    """Where output bytes may lie: all of int8, or the part that a rectifier leaves."""
    if rectifier is None:
        return Clamp(tensor.zero_point)
    found = arguments(rectifier)
    known: dict[Any, tuple[float, float | None]] = {aten.relu.default: (0.0, None), aten.relu6.default: (0.0, 6.0)}
    low, high = known.get(rectifier.target) or (found["min_val"], found["max_val"])
    bounds = [
        default if real is None else int(np.clip(round(real / tensor.scale) + tensor.zero_point, -128, 127))
        for real, default in ((low, -128), (high, 127))
    ]
    return Clamp(tensor.zero_point, *bounds)


def _lowering(called: Any) -> Lower | None:
    """Return what lowers an operator: here, or brought by its package; EdgeoptError where that is no function."""
    lower = _LOWERED.get(called) or kernel_for(NAME, called)
    if lower is not None and not callable(lower):
        raise EdgeoptError(
            f"operator '{called}' brings a {type(lower).__name__} for {NAME}, not a function that lowers it",
            "correct the package that defines it",
        )
    return lower


_LOWERED: dict[Any, Lower] = {
    **dict.fromkeys(MOVES, lower_tokens.move),
    **dict.fromkeys(PRODUCTS, lower_tokens.matmul),
    **dict.fromkeys(NORMS, lower_tokens.norm),
    **dict.fromkeys(lower_signs.LAYERS, lower_signs.layer),
    aten.conv2d.default: lower_maps.conv2d,
    aten.linear.default: lower_maps.linear,
    aten.add.Tensor: lower_maps.sum_,
    aten.avg_pool2d.default: lower_maps.mean,
    aten.adaptive_avg_pool2d.default: lower_maps.mean,
    aten.mean.dim: lower_maps.mean,
    aten.max_pool2d.default: lower_maps.max_pool,
    aten.pad.default: lower_maps.pad,
    aten.softmax.int: lower_tokens.softmax,
    aten.cat.default: lower_tokens.concatenation,
}
