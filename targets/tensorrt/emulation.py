"""What computes a model here in place of the device: its outputs are compared with torch's, its times say nothing.

ONNX Runtime's CPU provider runs int8, int4 and FP8 pairs as written. FP4 it lacks: constants in FP4 are dequantized
first, which changes no value. FP16 it computes in float32, dropping the casts between, so that a value beyond FP16's
range goes unnoticed: every FP16 value becomes a float32 one, rounded by a pair of explicit casts, which stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeopt.onnx.session import OnnxSession
from edgeopt.plugins.target import Arrays
from edgeopt.records.layers import Layer
from edgeopt.targets.tensorrt.constants import constant

if TYPE_CHECKING:
    import onnx_ir as ir

NOT_RUN = "emulated by ONNX Runtime, not run on TensorRT"
"""What a report says of outputs that were computed here."""


class StandIn(OnnxSession):
    """ONNX Runtime on this machine's CPU."""

    stands_in = True

    def __init__(self, path: Path, threads: int) -> None:
        import onnx_ir as ir

        model = ir.load(path)
        dequantize_fp4(model)
        round_half(model)
        super().__init__(ir.to_proto(model).SerializeToString(), threads, "basic")

    def layers(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """What runs here are not the device's layers."""
        return ()


def dequantize_fp4(model: ir.Model) -> None:
    """Put floats in place of dequantized FP4 constants."""
    import onnx_ir as ir

    for node in list(model.graph):
        stored = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.dtype != ir.DataType.FLOAT4E2M1:
            continue
        values, scales = _array(stored), _array(node.inputs[1])
        real = values * np.repeat(scales, values.shape[1] // scales.shape[1], 1)
        result = node.outputs[0]
        assert result.dtype is not None
        floats = constant(model, f"{result.name}_floats", real.astype(result.dtype.numpy()))
        ir.convenience.replace_all_uses_with(result, floats)
        model.graph.remove(node, safe=True)


def _array(value: ir.Value | None) -> np.ndarray:
    """Return a constant, or one that is itself dequantized, in float32."""
    assert value is not None
    producer = value.producer()
    if producer is None:
        assert value.const_value is not None
        return np.asarray(value.const_value.numpy(), np.float32)
    if producer.op_type == "Cast":
        return _array(producer.inputs[0])
    product: np.ndarray = _array(producer.inputs[0]) * _array(producer.inputs[1])
    return product


def round_half(model: ir.Model) -> None:
    """Turn FP16 values into float32 ones that are rounded to FP16."""
    import onnx_ir as ir

    for value in list(model.graph.initializers.values()):
        if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = ir.DataType.FLOAT
    for node in list(model.graph):
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT16:
                _round(model, node, value)


def _round(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """Let a node leave float32, and its readers read that rounded."""
    import onnx_ir as ir

    if node.op_type == "Cast":
        node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
    value.dtype = ir.DataType.FLOAT
    narrow = ir.node("Cast", [value], {"to": ir.DataType.FLOAT16}, name=f"{value.name}_narrow")
    wide = ir.node("Cast", [narrow.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{value.name}_wide")
    narrow.outputs[0].name, wide.outputs[0].name = f"{value.name}_narrow", f"{value.name}_wide"
    ir.convenience.replace_all_uses_with(value, wide.outputs[0])
    narrow.replace_input_with(0, value)
    model.graph.insert_after(node, [narrow, wide])
