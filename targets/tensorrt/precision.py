"""The precision of every layer of a model, read from its graph."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeopt.targets.tensorrt.half import name_of

if TYPE_CHECKING:
    import onnx_ir as ir

_PLUMBING = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Constant", "Shape"})
_NAMES = {
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "BFLOAT16": "bf16",
    "INT8": "int8",
    "UINT8": "int8",
    "INT4": "int4",
    "FLOAT8E4M3FN": "fp8",
    "FLOAT4E2M1": "fp4",
}
_PLUGIN_WEIGHTS = {"Fp4Linear": "fp4", "BinaryLinear": "binary"}
"""What plug-ins store their weights in."""


def layers(model: ir.Model) -> list[dict[str, str]]:
    """Return name, operator and precision of each layer, in order; casts and quantization are part of others.

    A layer computes in ``int8`` where all it reads is dequantized from int8, in ``fp16 with int4 weights`` where its
    weight alone is.
    """
    nodes = [node for node in model.graph if node.op_type not in _PLUMBING]
    return [{"name": name_of(node), "op": node.op_type, "precision": precision_of(node)} for node in nodes]


def precision_of(node: ir.Node) -> str:
    """Return the precision that a node computes in."""
    own = _type(node.outputs[0])
    if node.op_type in _PLUGIN_WEIGHTS:
        return f"{own} with {_PLUGIN_WEIGHTS[node.op_type]} weights"
    stored = [_stored(value) for value in node.inputs[:2] if value is not None]
    found = {name for name in stored if name is not None}
    if not found:
        return own
    if None not in stored and len(found) == 1:
        return found.pop()
    return f"{own} with {'/'.join(sorted(found))} weights" if stored[-1] is not None else own


def summary(found: list[dict[str, str]]) -> str:
    """Return ``int8 (12), fp16 (30)``."""
    counts = Counter(layer["precision"] for layer in found)
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def _stored(value: ir.Value) -> str | None:
    """Return the type of the integers or small floats behind a dequantized value."""
    producer = value.producer()
    while producer is not None and producer.op_type in ("Cast", "Transpose", "Reshape"):
        producer = producer.inputs[0].producer() if producer.inputs[0] is not None else None
    if producer is None or producer.op_type != "DequantizeLinear" or producer.inputs[0] is None:
        return None
    return _type(producer.inputs[0])


def _type(value: ir.Value) -> str:
    name = value.dtype.name if value.dtype is not None else "unknown"
    return _NAMES.get(name, name.lower())
