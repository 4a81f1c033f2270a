"""Weights in four bits as TensorRT reads them: DequantizeLinear in blocks, on INT4 or FLOAT4E2M1 constants.

NVFP4 is dequantized twice: its E4M3 scales by the tensor's factor, then the elements by these scales. What has no such
type in ONNX (E1M2, E3M0, powers of two as scales) stays the function that unpacks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeopt.ops.operator import onnx_functions
from edgeopt.quant.float4 import E2M1, INT4, unpack
from edgeopt.targets.tensorrt.constants import constant

if TYPE_CHECKING:
    import onnx_ir as ir

OPERATOR = "edgeopt::dequantize_blocks"
FUNCTION = "StoredInFourBits"
_ELEMENTS = {element.name: element for element in (E2M1, INT4)}
_UINT8 = 2
_SMALLEST_NORMAL = 2.0**-14


def function() -> Callable[..., Any]:
    """Return what the operator is in ONNX until ``write`` puts DequantizeLinear in its place."""
    from onnxscript import opset20, script
    from onnxscript.values import Opset

    op: Any = opset20  # what is declared of operands is narrower than what they take
    unpacked = onnx_functions()[OPERATOR]()

    @script(Opset("edgeopt", 1))
    def StoredInFourBits(codes: Any, scale: Any, factor: Any, element: str) -> Any:  # noqa: N802
        return op.Mul(op.Cast(codes, to=1), factor)

    def dequantize_blocks(codes: Any, scale: Any, factor: Any, element: str) -> Any:
        if element not in _ELEMENTS or scale.dtype == _UINT8:
            return unpacked(codes, scale, factor, element)
        return StoredInFourBits(codes, scale, factor, element=element)

    return dequantize_blocks


def write(model: ir.Model) -> None:
    """Put DequantizeLinear on four-bit constants in place of the function."""
    from onnx_ir.passes import common

    for node in [node for node in model.graph if node.op_type == FUNCTION]:
        _replace(model, node)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.RemoveUnusedOpsetsPass()(model)


def _replace(model: ir.Model, node: Any) -> None:
    import ml_dtypes
    import onnx_ir as ir

    codes, scale, factor = (value.const_value.numpy() for value in node.inputs)
    element = _ELEMENTS[node.attributes["element"].value]
    kind = ml_dtypes.float4_e2m1fn if element is E2M1 else ml_dtypes.int4
    numbers = element.decode(unpack(torch.from_numpy(np.array(codes)))).numpy()
    name = str(node.inputs[0].name)
    stored = constant(model, f"{name}_{element.name}", numbers.astype(kind))
    if scale.dtype == np.float32:
        scales = constant(model, f"{name}_scale", scale * factor)
    else:
        scales = _dequantized(model, node, name, *_within_half(scale, factor))
    size = numbers.shape[-1] // scale.shape[-1]
    call = ir.node("DequantizeLinear", [stored, scales], {"axis": 1, "block_size": size}, name=f"{node.name}_weight")
    (result,) = call.outputs
    result.name, result.shape, result.dtype = f"{name}_real", ir.Shape(numbers.shape), ir.DataType.FLOAT
    model.graph.insert_before(node, call)
    ir.convenience.replace_all_uses_with(node.outputs[0], result)


def _dequantized(model: ir.Model, node: ir.Node, name: str, scale: np.ndarray, factor: np.ndarray) -> ir.Value:
    import onnx_ir as ir

    inputs = [constant(model, f"{name}_scale", scale), constant(model, f"{name}_factor", factor)]
    call = ir.node("DequantizeLinear", inputs, name=f"{node.name}_scale")
    (result,) = call.outputs
    result.name, result.shape, result.dtype = f"{name}_scales", ir.Shape(scale.shape), ir.DataType.FLOAT
    model.graph.insert_before(node, call)
    return result


def _within_half(scale: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same scales with a factor that FP16 holds, where a shift of exponents does that exactly."""
    shift = max(0, int(np.ceil(np.log2(_SMALLEST_NORMAL / float(factor)))))
    shifted = (scale.astype(np.float32) / 2.0**shift).astype(scale.dtype)
    if not np.array_equal(shifted.astype(np.float32) * 2.0**shift, scale.astype(np.float32)):
        return scale, factor
    return shifted, np.asarray(factor * 2.0**shift, np.float32)
