"""FP16 as the device computes it, for a runtime that computes it in float32.

ONNX Runtime's CPU provider runs most FP16 operators in float32 and drops the casts between them, so that a value
beyond FP16's range goes unnoticed. Here every FP16 value becomes a float32 one that a pair of explicit casts, which it
does not drop, has rounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def with_rounding(path: Path) -> bytes:
    """Return the model in float32, each of its FP16 values rounded to FP16."""
    import onnx_ir as ir

    model = ir.load(path)
    for value in list(model.graph.initializers.values()):
        if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = ir.DataType.FLOAT
    for node in list(model.graph):
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT16:
                _round(model, node, value)
    return ir.to_proto(model).SerializeToString()


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
