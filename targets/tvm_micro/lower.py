"""From a program with quantize and dequantize pairs to integers only.

    dq -> operator [-> rectifier] -> q    =>    one node of the integer graph

Scales become multipliers, a rectifier becomes the clamp of the node in front of it, padding becomes part of the window
that reads it, and reshapes vanish. Activations change from (N, C, H, W) to (H, W, C); where a map was flattened into a
vector, the weights of the layer that reads it are put into the new order. What no
kernel takes stays in float between integers: as a table, or compiled by TVM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.errors import Placement, ToolchainMissing
from edgeopt.kernels import reference
from edgeopt.kernels.reference import AddFactors, Clamp, Window
from edgeopt.passes.insert_qdq import DEQUANTIZE, QUANTIZE
from edgeopt.program import Program, op_name
from edgeopt.quant.scheme import RECTIFIERS, Scheme
from edgeopt.rewrite import arguments

from .generate import generate
from .integer_graph import (
    Add,
    AvgPool2d,
    Conv2d,
    DepthwiseConv2d,
    Generated,
    IntegerGraph,
    Linear,
    MaxPool2d,
    Node,
    Softmax,
    Table,
)  # fmt: skip
from .region import RegionModule, collect, tabulate
from .tensor import Shape, Tensor

aten = torch.ops.aten

SCHEME = Scheme(
    activation=torch.int8,
    integer=frozenset(
        {
            aten.conv2d.default, aten.linear.default, aten.add.Tensor, aten.avg_pool2d.default,
            aten.adaptive_avg_pool2d.default, aten.mean.dim, aten.softmax.int,
        }
    ),
    moves=frozenset({aten.reshape.default, aten.max_pool2d.default, aten.pad.default}),
    float_beside=False,
)  # fmt: skip
"""What the kernels compute; the rest of a program is placed nowhere."""


class _Refused(Exception):
    """A node that no kernel takes; the text is the reason."""


@dataclass(frozen=True)
class _Value:
    """An integer tensor, zeros still to be put around it, and the (C, H, W) that it was flattened from."""

    tensor: Tensor
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    flat: tuple[int, int, int] | None = None


@dataclass
class _Lowering:
    program: Program
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[fx.Node, _Value] = field(default_factory=dict)
    covered: set[fx.Node] = field(default_factory=set)
    refused: list[Placement] = field(default_factory=list)


def lower_program(program: Program) -> tuple[IntegerGraph, list[Placement]]:
    """Return the integer graph, and every node that has no place in it with the reason.

    The graph is complete only where the list is empty.
    """
    state = _Lowering(program)
    for node in program.calls:
        source: Any = node.args[0]
        if node.target is DEQUANTIZE and source in state.values:
            state.values[node] = state.values[source]
        elif node.target is QUANTIZE:
            state.values[node] = _quantised(state, node)
    _refuse_the_rest(state)
    outputs = [state.values[node].tensor.name for node in program.results if node in state.values]
    inputs = [name for name in (spec.name for spec in program.inputs) if name in state.tensors]
    return IntegerGraph(state.tensors, tuple(state.nodes), tuple(inputs), tuple(outputs)), state.refused


def _refuse_the_rest(state: _Lowering) -> None:
    """Report what is left in float: operators without a kernel or without a range, inputs and outputs."""
    for node in state.program.calls:
        if node in state.covered or node.target in (QUANTIZE, DEQUANTIZE):
            continue
        known = node.target in SCHEME.integer | SCHEME.moves | RECTIFIERS
        reason = "it is left in float: no range was calibrated for what it reads or returns" if known else "no kernel"
        state.refused.append(Placement(node.name, op_name(node), reason))
    for node in state.program.input_nodes:
        if node.name not in state.tensors:
            reason = f"it is {node.meta['val'].dtype} and read as such: inputs are quantised to int8"
            state.refused.append(Placement(node.name, "input", reason))
    for name, node in zip(state.program.output_names, state.program.results, strict=True):
        if node not in state.values:
            state.refused.append(Placement(name, "output", "it is not the result of an integer operator"))
        elif any(state.values[node].padding) or state.values[node].flat:
            state.refused.append(Placement(name, "output", "it is padded or flattened: end at the layer before"))


def _quantised(state: _Lowering, node: fx.Node) -> _Value:
    """The value behind a quantize node, its producer lowered."""
    source: Any
    affine: Any
    source, affine = node.args[0], node.args[1:3]
    scale, zero_point = (state.program.constants[constant.name] for constant in affine)
    tensor = Tensor(source.name, _shape(source), float(scale), int(zero_point))
    if source.op == "placeholder":
        state.tensors[tensor.name] = tensor
        return _Value(tensor)
    rectifier = source if source.target in RECTIFIERS else None
    operator = source.args[0] if rectifier else source
    state.covered |= {source, operator}
    try:
        if operator.target not in _LOWERED:
            raise _Refused("no kernel")
        return _LOWERED[operator.target](state, operator, tensor, _clamp(rectifier, tensor))
    except (_Refused, ValueError) as refusal:
        return _in_float(state, operator, source, tensor, str(refusal))


def _in_float(state: _Lowering, operator: fx.Node, end: fx.Node, y: Tensor, refusal: str) -> _Value:
    """What no kernel takes: as a table, or compiled by TVM; refused where neither goes."""
    try:
        region = collect(state.program, end, state.values.keys())
        sources = [_plain(state.values[source]) for source in region.sources]
        state.covered |= set(region.nodes)
        inputs = tuple(x.name for x in sources)
        if region.is_table:
            return _add_node(state, Table(end.name, inputs, y.name, tabulate(region, sources[0], y)), y)
        module = RegionModule(region, sources, y)
        code = generate(f"generated_{end.name}", module, sources, y)
        return _add_node(state, Generated(end.name, inputs, y.name, module, code, y.shape), y)
    except (_Refused, ValueError, ToolchainMissing) as failure:
        state.refused.append(Placement(operator.name, op_name(operator), f"{refusal}; {failure}"))
        return _Value(y)


def _shape(node: fx.Node) -> Shape:
    """(H, W, C) of a node's value without its batch dimension."""
    sizes = [int(size) if isinstance(size, int) else 1 for size in node.meta["val"].shape]
    match sizes:
        case [1, c, h, w]:
            return h, w, c
        case [1, w, c]:
            return 1, w, c
        case [1, c]:
            return 1, 1, c
    return 1, 1, int(np.prod(sizes))


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


def _operand(state: _Lowering, node: Any) -> _Value:
    if node not in state.values:
        raise _Refused("it reads a value that is not quantised")
    return state.values[node]


def _plain(value: _Value) -> Tensor:
    """The tensor of an operand that only convolutions may have padded, only linears flattened."""
    if any(value.padding):
        raise _Refused("it reads padded values: only convolutions take padding")
    if value.flat:
        raise _Refused("it reads a flattened map: only linear layers do")
    return value.tensor


def _add_node(state: _Lowering, node: Node, tensor: Tensor) -> _Value:
    state.tensors[tensor.name] = tensor
    state.nodes.append(node)
    return _Value(tensor)


def _constant(state: _Lowering, node: fx.Node | None) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scale of a dequantized constant."""
    if node is None or node.target is not DEQUANTIZE or state.program.constant(node.args[0]) is None:
        raise _Refused("its weight or bias is not a quantised constant")
    q, scale = (state.program.constant(node.args[i]) for i in (0, 1))
    return q.numpy(), scale.double().numpy()


def _window(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Window:
    """A window that the kernels' geometry holds."""
    if max(*kernel, *stride) > 255:
        raise _Refused(f"a window of {kernel[0]}x{kernel[1]}, stride {stride[0]}x{stride[1]}: at most 255")
    if any(pad >= size for pad, size in zip(padding, kernel * 2, strict=True)):
        raise _Refused(f"padding {padding} around a window of {kernel[0]}x{kernel[1]}: less than the window")
    return Window(kernel, stride, padding)


def _weighted(state: _Lowering, node: fx.Node, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, bias and multiplier of a layer."""
    found = arguments(node)
    weights, scale = _constant(state, found["weight"])
    if weights[0].size > 32768 or max(*x.shape, *y.shape) > 65535:
        raise _Refused(
            f"{weights[0].size} products a sum, sizes up to {max(*x.shape, *y.shape)}: 32768 and 65535 at most"
        )
    bias = np.zeros(len(weights), np.int32)
    if found["bias"] is not None:
        bias = _constant(state, found["bias"])[0]
    multiplier = reference.multiplier(x.scale * np.broadcast_to(scale, len(weights)) / y.scale)
    return weights, bias, multiplier.astype(np.int32)


def _conv2d(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    found = arguments(node)
    value = _operand(state, found["input"])
    x = _plain(replace(value, padding=(0, 0, 0, 0)))
    if tuple(found["dilation"]) != (1, 1):
        raise _Refused(f"dilation {tuple(found['dilation'])}: the kernels have 1")
    weights, bias, multiplier = _weighted(state, node, x, y)
    vertical, horizontal = found["padding"]
    padding = tuple(p + q for p, q in zip(value.padding, (vertical, horizontal) * 2, strict=True))
    window = _window(weights.shape[2:], tuple(found["stride"]), padding)
    common = (node.name, (x.name,), y.name)
    if found["groups"] == 1:
        lowered: Node = Conv2d(*common, weights.transpose(0, 2, 3, 1), bias, multiplier, x.zero_point, clamp, window)
    elif found["groups"] == x.shape[2] == len(weights):
        lowered = DepthwiseConv2d(*common, weights[:, 0], bias, multiplier, x.zero_point, clamp, window)
    else:
        raise _Refused(f"{found['groups']} groups: the kernels have one, or one for each channel")
    return _add_node(state, lowered, y)


def _linear(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    value = _operand(state, arguments(node)["input"])
    x = _plain(replace(value, flat=None))
    weights, bias, multiplier = _weighted(state, node, x, y)
    common = (node.name, (x.name,), y.name)
    if value.flat:
        weights = weights.reshape(len(weights), *value.flat).transpose(0, 2, 3, 1).reshape(len(weights), -1)
    if x.size == weights.shape[1]:
        return _add_node(state, Linear(*common, weights, bias, multiplier, x.zero_point, clamp), y)
    pointwise = weights[:, None, None, :]  # a vector for each position: a convolution of one pixel
    return _add_node(state, Conv2d(*common, pointwise, bias, multiplier, x.zero_point, clamp, Window()), y)


def _sum(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    found = arguments(node)
    a, b = (_plain(_operand(state, found[key])) for key in ("self", "other"))
    if a.shape != b.shape or found["alpha"] != 1:
        raise _Refused("it broadcasts or scales an operand")
    factors = AddFactors.of(a.scale, a.zero_point, b.scale, b.zero_point, y.scale, y.zero_point)
    return _add_node(state, Add(node.name, (a.name, b.name), y.name, factors, clamp.low, clamp.high), y)


def _mean(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    found = arguments(node)
    x = _plain(_operand(state, found["self"]))
    if node.target is aten.avg_pool2d.default:
        if any(found["padding"]) or found["ceil_mode"] or found["divisor_override"]:
            raise _Refused("an average pool with padding, ceil_mode or divisor_override")
        kernel = tuple(found["kernel_size"])
        stride = tuple(found["stride"]) or kernel
    elif node.target is aten.mean.dim:
        if sorted(d % 4 for d in found["dim"]) != [2, 3] or node.args[0].meta["val"].dim() != 4:
            raise _Refused("a mean over other dimensions than height and width")
        kernel = stride = x.shape[:2]
    else:
        if any(size % out for size, out in zip(x.shape[:2], found["output_size"], strict=True)):
            raise _Refused("an adaptive pool whose windows differ in size")
        kernel = stride = tuple(size // out for size, out in zip(x.shape[:2], found["output_size"], strict=True))
    if kernel[0] * kernel[1] > 32768:
        raise _Refused(f"a mean over {kernel[0] * kernel[1]} values: at most 32768")
    # 16 times the sum, so that the scale may exceed a half.
    multiplier = int(reference.multiplier(x.scale / y.scale / (16 * kernel[0] * kernel[1])))
    pool = AvgPool2d(node.name, (x.name,), y.name, _window(kernel, stride), multiplier, x.zero_point, clamp)
    return _add_node(state, pool, y)


def _softmax(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    x = _plain(_operand(state, arguments(node)["self"]))
    if arguments(node)["dim"] % node.meta["val"].dim() != node.meta["val"].dim() - 1 or node.meta["val"].dim() == 4:
        raise _Refused("a softmax over another dimension than the last")
    if y.scale != 1 / 256 or y.zero_point != -128:
        raise _Refused(f"a softmax of scale {y.scale:g}: the kernel has 1/256")
    return _add_node(state, Softmax(node.name, (x.name,), y.name, reference.exp_table(x.scale)), y)


def _max_pool(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    found = arguments(node)
    x = _same_map(_plain(_operand(state, found["self"])), y)
    if tuple(found["dilation"]) not in ((1,), (1, 1)) or found["ceil_mode"]:
        raise _Refused("a max pool with dilation or ceil_mode")
    kernel, stride = tuple(found["kernel_size"]), tuple(found["stride"])
    window = _window(kernel, stride or kernel, tuple(found["padding"]) * 2)
    return _add_node(state, MaxPool2d(node.name, (x.name,), y.name, window, clamp.low, clamp.high), y)


def _pad(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    found = arguments(node)
    value = _operand(state, found["self"])
    _same_map(value.tensor, y)
    if found["mode"] != "constant" or found["value"] or len(found["pad"]) > 4 or value.flat or min(found["pad"]) < 0:
        raise _Refused("padding other than by zeros at the edges of a map")
    left, right, top, bottom = (*found["pad"], 0, 0)[:4]
    padding = tuple(p + q for p, q in zip(value.padding, (top, left, bottom, right), strict=True))
    return replace(value, padding=padding)


def _reshape(state: _Lowering, node: fx.Node, y: Tensor, clamp: Clamp) -> _Value:
    """Only what moves no byte: a flattened map (order kept for the linear behind it), or dimensions of size one."""
    value = _operand(state, arguments(node)["self"])
    x = _same_map(_plain(replace(value, flat=None)), y)
    before, after = ([s for s in n.meta["val"].shape[1:] if s != 1] for n in (arguments(node)["self"], node))
    if before == after and len(before) < 2:
        return replace(value, tensor=x)
    if len(after) == 1 and node.meta["val"].dim() == 2:
        height, width, channels = x.shape
        return _Value(x, flat=(channels, height, width)) if height * width > 1 and channels > 1 else _Value(x)
    raise _Refused("a reshape that reorders a map in memory")


def _same_map(x: Tensor, y: Tensor) -> Tensor:
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise _Refused("it moves values from one scale to another")
    return x


_LOWERED: dict[Any, Callable[[_Lowering, fx.Node, Tensor, Clamp], _Value]] = {
    aten.conv2d.default: _conv2d,
    aten.linear.default: _linear,
    aten.add.Tensor: _sum,
    aten.avg_pool2d.default: _mean,
    aten.adaptive_avg_pool2d.default: _mean,
    aten.mean.dim: _mean,
    aten.softmax.int: _softmax,
    aten.max_pool2d.default: _max_pool,
    aten.pad.default: _pad,
    aten.reshape.default: _reshape,
}
