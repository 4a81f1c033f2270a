"""FP8 products: E4M3 weights and activations with a scale for each tensor, as explicit pairs in ONNX.

A scale is the largest magnitude over 448, E4M3's largest number; of activations it was observed. Convolutions stay as
they are. Source: OCP 8-bit Floating Point Specification 1.0, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgeopt.records.layers import Fallback
from edgeopt.targets.tensorrt.constants import constant
from edgeopt.targets.tensorrt.half import name_of

if TYPE_CHECKING:
    import onnx_ir as ir

_LARGEST = 448.0
_LEAST_SCALE = 2.0**-14
"""Scales are not smaller: FP16 would lose digits of them."""


def store(model: ir.Model, extremes: Mapping[str, float]) -> tuple[Fallback, ...]:
    """Let products with a constant compute in FP8; return those that do not, with reasons.

    ``extremes`` holds the largest magnitude of activations by name.
    """
    refused = []
    for node in [node for node in model.graph if node.op_type in ("MatMul", "Gemm", "Conv")]:
        if reason := _store(model, node, extremes):
            refused.append(Fallback(name_of(node), node.op_type, f"not in FP8: {reason}"))
    return tuple(refused)


def _store(model: ir.Model, node: ir.Node, extremes: Mapping[str, float]) -> str | None:
    import ml_dtypes

    activation, weight = node.inputs[:2]
    assert activation is not None and weight is not None
    if node.op_type == "Conv":
        return "TensorRT has it for matrix products only"
    if weight.producer() is not None or weight.const_value is None:
        return "both operands are computed at run time"
    largest = extremes.get(str(activation.name))
    if not largest:
        return "its activations were not observed"
    values = weight.const_value.numpy()
    scale = max(float(np.abs(values).max()) / _LARGEST, _LEAST_SCALE)
    stem = str(node.outputs[0].name)
    stored = constant(model, f"{stem}_weight", (values / scale).astype(ml_dtypes.float8_e4m3fn))
    real = _pair_end(model, node, stored, constant(model, f"{stem}_weight_scale", np.float32(scale)), weight)
    node.replace_input_with(1, real)
    scales = constant(model, f"{stem}_scale", np.float32(max(largest / _LARGEST, _LEAST_SCALE)))
    node.replace_input_with(0, _pair_end(model, node, _quantized(model, node, activation, scales), scales, activation))
    return None


def _quantized(model: ir.Model, node: ir.Node, value: ir.Value, scale: ir.Value) -> ir.Value:
    import ml_dtypes
    import onnx_ir as ir

    zero = constant(model, f"{node.outputs[0].name}_zero", np.zeros((), ml_dtypes.float8_e4m3fn))
    call = ir.node("QuantizeLinear", [value, scale, zero], name=f"{node.name}_quantize")
    (result,) = call.outputs
    result.name, result.shape, result.dtype = f"{node.outputs[0].name}_fp8", value.shape, ir.DataType.FLOAT8E4M3FN
    model.graph.insert_before(node, call)
    return result


def _pair_end(model: ir.Model, node: ir.Node, stored: ir.Value, scale: ir.Value, like: ir.Value) -> ir.Value:
    import onnx_ir as ir

    call = ir.node("DequantizeLinear", [stored, scale], name=f"{node.name}_{stored.name}")
    (result,) = call.outputs
    result.name, result.shape, result.dtype = f"{stored.name}_real", like.shape, ir.DataType.FLOAT
    model.graph.insert_before(node, call)
    return result
