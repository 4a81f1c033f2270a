"""``edgeopt::dequantize_blocks`` in ONNX: a function that unpacks, or ONNX's own four-bit types.

The function ``DequantizeBlocks`` in the domain ``edgeopt`` runs wherever opset 20 does. ``native`` puts a
DequantizeLinear in blocks in its place, as opset 23 has it, on a FLOAT4E2M1 or INT4 constant: smaller graphs, for
compilers that read them. The former does not run on every processor's kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.float4 import E2M1, INT4, Element, unpack

if TYPE_CHECKING:
    import onnx_ir as ir

FUNCTION = "DequantizeBlocks"
NATIVE_OPSET = 23
_FLOAT, _UINT8 = 1, 2


def build(elements: dict[str, Element]) -> Function:
    """Return the function of the operator's arguments that emits it."""
    op, _ = scripting()

    function = _function()

    def dequantize_blocks(codes: Any, scale: Any, factor: Any, element: Any) -> Any:
        table = op.Constant(value_floats=elements[element].table().tolist())
        real: Any = op.Cast(scale, to=_FLOAT)
        if scale.dtype == _UINT8:
            real = op.Pow(op.Constant(value_float=2.0), op.Sub(real, op.Constant(value_float=127.0)))
        return function(codes, op.Mul(real, factor), table)

    return dequantize_blocks


def _function() -> Function:
    op, script = scripting()

    @script
    def DequantizeBlocks(codes: Any, scale: Any, table: Any) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        sixteen = op.Cast(op.Constant(value_int=16), to=2)
        low = op.Mod(codes, sixteen)
        high = op.Div(codes, sixteen)
        pairs = op.Concat(op.Unsqueeze(low, last), op.Unsqueeze(high, last), axis=-1)
        values = op.Gather(table, op.Cast(pairs, to=7))
        blocks = op.Reshape(values, op.Concat(op.Shape(scale), last, axis=0))
        rows = op.Concat(op.Shape(codes, start=0, end=-1), last, axis=0)
        return op.Reshape(op.Mul(blocks, op.Unsqueeze(scale, last)), rows)

    return DequantizeBlocks


def native(model: ir.Model) -> int:
    """Put DequantizeLinear on four-bit constants in place of the functions that have such a type; return how many.

    Scales are computed as before: float8 ones stay float8 in the file.
    """
    from onnx_ir.passes import common

    nodes: Iterable[Any] = model.graph
    calls = [node for node in nodes if node.op_type == FUNCTION and node.inputs[0].const_value is not None]
    if any(scale.shape is None for _, scale, _ in (node.inputs for node in calls)):
        common.ShapeInferencePass()(model)  # scales too large to have been folded are still computed
    done = sum(_replace(model, node) for node in calls)
    if done:
        common.RemoveUnusedNodesPass()(model)
        common.RemoveUnusedFunctionsPass()(model)
        for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
            if "" in imports:
                imports[""] = NATIVE_OPSET
    return done


def _replace(model: ir.Model, node: Any) -> bool:
    import ml_dtypes
    import onnx_ir as ir

    codes, scale, table = node.inputs
    types = {E2M1: ml_dtypes.float4_e2m1fn, INT4: ml_dtypes.int4}
    values = table.const_value.numpy()
    known = [element for element in types if np.array_equal(values, element.table().numpy())]
    if not known:
        return False
    numbers = known[0].decode(unpack(torch.from_numpy(codes.const_value.numpy())))
    constant = ir.Value(name=f"{codes.name}_{known[0].name}", shape=ir.Shape(numbers.shape))
    constant.const_value = ir.tensor(numbers.numpy().astype(types[known[0]]), name=constant.name)
    constant.dtype = constant.const_value.dtype
    model.graph.register_initializer(constant)
    size = numbers.shape[-1] // scale.shape[-1]
    call = ir.node("DequantizeLinear", [constant, scale], {"axis": 1, "block_size": size}, name=node.name)
    node.outputs[0].name, name = None, node.outputs[0].name
    call.outputs[0].name, call.outputs[0].shape, call.outputs[0].dtype = name, node.outputs[0].shape, ir.DataType.FLOAT
    model.graph.insert_before(node, call)
    node.outputs[0].replace_all_uses_with(call.outputs[0])
    model.graph.remove(node, safe=True)
    return True
