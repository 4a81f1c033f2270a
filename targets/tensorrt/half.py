"""Float32 to FP16, node by node, with the nodes that would leave FP16's range kept in FP32.

FP16 ends at 65,504 and loses everything below 6e-8. A runtime that is told to compute in FP16 says nothing when a
value leaves that range: outputs become infinite, NaN, or quietly wrong. Here every node is judged on what was observed:

* an operand or result beyond the range;
* a sum inside it that would leave the range: the squares under a norm, the total under a mean;
* a constant that FP16 rounds to zero, such as the floor under a division; with it the squares and sums that it is added
  to, which would round to zero as well, and the inverse, which would leave the range;
* a scale of a quantized value below FP16's normal numbers, where it would lose digits.

Inputs and outputs of the model stay as they were; casts stand where the type changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.records.layers import Fallback

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST = 65504.0
_SMALLEST = 2.0**-24
_SMALLEST_NORMAL = 2.0**-14

_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization"})
_SQUARES = frozenset({"ReduceL2", "ReduceSumSquare"})
_MEANS = frozenset({"ReduceMean", "GlobalAveragePool", "AveragePool"})
_PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FLOAT_ONLY = frozenset({"Range", "EyeLike", "ConstantOfShape", "Resize", "RandomNormalLike", "RandomUniformLike"})
_BELOW_FLOOR = frozenset({"Pow", "Mul", "ReduceMean", "ReduceSum", "Sqrt", "Abs"}) | _SQUARES
_ABOVE_FLOOR = frozenset({"Sqrt", "Reciprocal", "Pow"})
_SCALING = frozenset({"Mul", "Div"})
_SMALL_CONSTANT = 16
"""Elements up to which a constant is a floor or an epsilon rather than a weight."""


def to_half(model: ir.Model, extremes: Mapping[str, float]) -> tuple[Fallback, ...]:
    """Convert a float32 model in place; return the nodes kept in FP32, with reasons.

    ``extremes`` is the largest magnitude of each value by name; a value that is missing there is taken to fit.
    """
    kept = {}
    for node in model.graph:
        if reason := _reason(node, extremes):
            kept[node] = reason
    for node in model.graph:
        if (floor := _floor(node)) is not None:
            _keep_around(node, f"it meets the floor {floor:g}, which is zero in FP16", kept)
    _keep_readers_of_kept_integers(model, kept)
    _Conversion(model, kept).run()
    return tuple(
        Fallback(name_of(node), node.op_type, f"kept in FP32: {reason}")
        for node, reason in kept.items()
        if node.op_type not in _FLOAT_ONLY | _PAIRS
    )


def name_of(node: ir.Node) -> str:
    """Return the program's name of a node."""
    return str(node.name).removeprefix("node_")


def _reason(node: ir.Node, extremes: Mapping[str, float]) -> str | None:
    """Return why a node cannot compute in FP16, or None."""
    if node.op_type in _FLOAT_ONLY or any(True for _ in _subgraphs(node)):
        return "its values are float32 by definition"
    for value in (*node.inputs, *node.outputs):
        if value is not None and (reaches := extremes.get(str(value.name), 0.0)) > LARGEST:
            return f"{value.name} reaches {reaches:,.0f}, FP16 ends at {LARGEST:,.0f}"
    return _sum_reason(node, extremes) or _constant_reason(node)


def _sum_reason(node: ir.Node, extremes: Mapping[str, float]) -> str | None:
    read = node.inputs[0] if node.inputs else None
    largest = extremes.get(str(read.name), 0.0) if read is not None else 0.0
    if node.op_type in _NORMS and largest**2 > LARGEST:
        return f"it squares values up to {largest:,.0f}, FP16 ends at {LARGEST:,.0f}"
    if node.op_type in _SQUARES and largest**2 * _count(node) > LARGEST:
        return f"it sums squares up to {largest**2 * _count(node):,.0f}, FP16 ends at {LARGEST:,.0f}"
    total = extremes.get(str(node.outputs[0].name), 0.0) * _count(node) if node.op_type in _MEANS else 0.0
    return f"its sum reaches {total:,.0f}, FP16 ends at {LARGEST:,.0f}" if total > LARGEST else None


def _count(node: ir.Node) -> float:
    """Return how many elements one element of the result is made of, 1 where shapes are not known."""
    values = [value for value in (node.inputs[0], node.outputs[0]) if value is not None and value.shape is not None]
    sizes = [[d for d in value.shape or () if isinstance(d, int)] for value in values]
    if len(sizes) < 2:
        return 1.0
    return max(1.0, math.prod(sizes[0]) / max(1, math.prod(sizes[1])))


def _constant_reason(node: ir.Node) -> str | None:
    for value in node.inputs:
        array = _constant(value)
        if value is None or array is None:
            continue
        if node.op_type in _PAIRS:
            if value is node.inputs[1] and array.min() < _SMALLEST_NORMAL:
                return f"a scale of its integers, {array.min():.1e}, loses digits in FP16"
            continue
        if np.abs(array[np.isfinite(array)]).max(initial=0.0) > LARGEST:
            return f"its constant {value.name} is beyond FP16's range"
    floor = _floor(node)
    return f"its constant {floor:g} is zero in FP16" if floor is not None else None


def _floor(node: ir.Node) -> float | None:
    """Return a constant of a node that FP16 rounds to zero."""
    for value in node.inputs if node.op_type not in _PAIRS else ():
        array = _constant(value)
        if array is not None and array.size <= _SMALL_CONSTANT:
            lost = array[(array != 0) & (np.abs(array) < _SMALLEST)]
            if lost.size:
                return float(lost.flat[0])
    return None


def _keep_around(floor: ir.Node, reason: str, kept: dict[ir.Node, str]) -> None:
    """Keep the squares and sums that a floor is added to, and its inverse up to what is scaled by that."""
    below, above = [floor], [floor]
    while below:
        for value in below.pop().inputs:
            producer = value.producer() if value is not None else None
            is_product = producer is not None and producer.op_type == "Mul" and len(set(producer.inputs)) > 1
            if producer is not None and producer.op_type in _BELOW_FLOOR and not is_product:
                kept.setdefault(producer, reason)
                below.append(producer)
    while above:
        for reader in above.pop().outputs[0].consumers():
            if reader.op_type in _ABOVE_FLOOR | _SCALING:
                kept.setdefault(reader, reason)
                above += [reader] if reader.op_type in _ABOVE_FLOOR else []


def _constant(value: ir.Value | None) -> np.ndarray | None:
    import onnx_ir as ir

    tensor = value.const_value if value is not None and value.producer() is None else None
    return tensor.numpy() if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def _keep_readers_of_kept_integers(model: ir.Model, kept: dict[ir.Node, str]) -> None:
    """Keep an operator with the pairs around it: a cast between them would hide that it computes on integers."""
    for node in model.graph:
        read = [value.producer() for value in node.inputs if value is not None]
        reasons = [kept[one] for one in read if one in kept and one.op_type == "DequantizeLinear"]
        if reasons and node not in kept and node.op_type != "QuantizeLinear":
            kept[node] = reasons[0]
            for one in read:
                if one is not None and one.op_type == "DequantizeLinear" and len(one.outputs[0].uses()) == 1:
                    kept.setdefault(one, reasons[0])


@dataclass
class _Conversion:
    """The rewriting of one model: which node computes in what, and the casts between."""

    model: ir.Model
    kept: Mapping[ir.Node, str]

    def run(self) -> None:
        import onnx_ir as ir

        graph = self.model.graph
        outputs = list(graph.outputs)
        self._casts: dict[tuple[ir.Value, Any], ir.Value] = {}
        self._halves: dict[ir.Value, ir.Value] = {}
        for node in list(graph):
            wanted = ir.DataType.FLOAT if node in self.kept else ir.DataType.FLOAT16
            for index, value in enumerate(node.inputs):
                if value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
                    node.replace_input_with(index, self._as(value, wanted, node))
            if node not in self.kept:
                self._retype(node)
        for index, value in enumerate(outputs):
            if value.dtype == ir.DataType.FLOAT16:
                graph.outputs[index] = self._as_output(value)
        for name in [name for name, value in graph.initializers.items() if not value.uses()]:
            del graph.initializers[name]

    def _retype(self, node: ir.Node) -> None:
        """Let a node's float results be FP16."""
        import onnx_ir as ir

        if node.op_type == "Cast" and node.attributes["to"].value == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16)
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16

    def _as(self, value: ir.Value, wanted: Any, reader: ir.Node) -> ir.Value:
        """Return a value in the wanted type: itself, a constant's copy, or a cast."""
        if value.dtype == wanted:
            return value
        if value.producer() is None and value.const_value is not None:
            return self._half_constant(value, value.const_value.numpy())
        if (value, wanted) not in self._casts:
            self._casts[value, wanted] = self._cast(value, wanted, reader)
        return self._casts[value, wanted]

    def _half_constant(self, value: ir.Value, numbers: np.ndarray) -> ir.Value:
        import onnx_ir as ir

        if value not in self._halves:
            name = f"{value.name}_half"
            tensor = ir.tensor(numbers.astype(np.float16), name=name)
            half = ir.Value(name=name, shape=value.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            self.model.graph.register_initializer(half)
            self._halves[value] = half
        return self._halves[value]

    def _cast(self, value: ir.Value, wanted: Any, reader: ir.Node) -> ir.Value:
        import onnx_ir as ir

        suffix = "half" if wanted == ir.DataType.FLOAT16 else "float"
        result = ir.Value(name=f"{value.name}_{suffix}", shape=value.shape, type=ir.TensorType(wanted))
        cast = ir.node("Cast", [value], {"to": wanted}, outputs=[result], name=f"cast_{value.name}_{suffix}")
        producer = value.producer()
        if producer is None:
            self.model.graph.insert_before(reader, cast)
        else:
            self.model.graph.insert_after(producer, cast)
        return result

    def _as_output(self, value: ir.Value) -> ir.Value:
        """Return a float32 result that has an output's name."""
        import onnx_ir as ir

        name = value.name
        value.name = f"{name}_half"
        producer = value.producer()
        assert producer is not None  # an output that is an input keeps its type
        result = self._cast(value, ir.DataType.FLOAT, producer)
        result.name = name
        return result


def _subgraphs(node: ir.Node) -> Any:
    import onnx_ir as ir

    return (a for a in node.attributes.values() if a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))
