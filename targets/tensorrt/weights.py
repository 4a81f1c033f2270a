"""Small number formats of products with a constant: int4 and FP4 weights, FP8 weights and activations, as TensorRT
reads them in ONNX.

| precision | weight                                    | scale                               | activations         |
|-----------|-------------------------------------------|-------------------------------------|---------------------|
| int4      | int4, blocks of 64 along the inputs       | float, largest of the block over 7  | as they are         |
| fp8       | E4M3                                      | float, largest over 448             | E4M3, same          |
| fp4       | E2M1, blocks of 16 along the inputs       | E4M3 of the block, times a float    | as they are         |

Convolutions stay as they are: TensorRT has these formats for matrix products. Sources: OCP 8-bit Floating Point
Specification 1.0, 2023; NVIDIA's NVFP4 as TensorRT documents it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.target import Fallback
from edgeopt.targets.tensorrt.features import table
from edgeopt.targets.tensorrt.half import name_of

if TYPE_CHECKING:
    import onnx_ir as ir

_E4M3_LARGEST = 448.0
_E2M1_LARGEST = 6.0
_INT4_LARGEST = 7.0
_LEAST_SCALE = 2.0**-14
"""Scales are not smaller: FP16 would lose digits of them."""

_BLOCKS = {"int4": 64, "fp4": 16}


def store_weights(model: ir.Model, precision: str, extremes: Mapping[str, float] | None) -> tuple[Fallback, ...]:
    """Store the weights of products as ``precision`` says; return the products that stay as they are, with reasons.

    ``extremes`` holds the largest magnitude of activations, which FP8 needs.
    """
    if precision not in ("int4", "fp8", "fp4"):
        return ()
    opset = table()["precision"][precision]["opset"]
    model.graph.opset_imports[""] = max(opset, model.graph.opset_imports[""])
    model.ir_version = max(model.ir_version, 11)
    writer = _Writer(model, precision, extremes or {})
    refused = []
    for node in [node for node in model.graph if node.op_type in ("MatMul", "Gemm", "Conv")]:
        if reason := writer.store(node):
            refused.append(Fallback(name_of(node), node.op_type, f"not in {precision}: {reason}"))
    return tuple(refused)


@dataclass
class _Writer:
    """Adds constants and dequantisation to one model."""

    model: ir.Model
    precision: str
    extremes: Mapping[str, float]

    def store(self, node: ir.Node) -> str | None:
        """Store a node's weight; return the reason where it is left alone."""
        if node.op_type == "Conv":
            return "TensorRT has it for matrix products only"
        weight, axis = _weight(node)
        if weight is None:
            return "both operands are computed at run time"
        values = weight.const_value.numpy()
        if self.precision == "fp8":
            return self._store_fp8(node, values)
        block = _BLOCKS[self.precision]
        if values.shape[axis] % block:
            return f"its {values.shape[axis]} inputs are no multiple of {block}"
        write = self._int4 if self.precision == "int4" else self._fp4
        self._replace(node, 1, lambda: write(f"{weight.name}", values, axis, block))
        return None

    def _store_fp8(self, node: ir.Node, values: np.ndarray) -> str | None:
        activation = node.inputs[0]
        assert activation is not None
        largest = self.extremes.get(str(activation.name))
        if not largest:
            return "its activations were not observed"
        name = str(node.inputs[1].name)
        self._replace(node, 1, lambda: self._fp8_constant(name, values))
        self._replace(node, 0, lambda: self._fp8_pair(activation, largest / _E4M3_LARGEST))
        return None

    def _replace(self, node: ir.Node, index: int, make: Callable[[], ir.Value]) -> None:
        before = len(self.model.graph)
        value = make()
        added = list(self.model.graph)[before:]
        self.model.graph.remove(added)
        self.model.graph.insert_before(node, added)
        node.replace_input_with(index, value)

    def _int4(self, name: str, values: np.ndarray, axis: int, block: int) -> ir.Value:
        import ml_dtypes

        scale = np.maximum(_largest_of_blocks(values, axis, block) / _INT4_LARGEST, _LEAST_SCALE)
        q = np.round(values / np.repeat(scale, block, axis)).clip(-_INT4_LARGEST, _INT4_LARGEST)
        stored = self._constant(f"{name}_int4", q.astype(ml_dtypes.int4))
        return self._dequantize(name, stored, self._constant(f"{name}_scale", scale), axis=axis, block_size=block)

    def _fp4(self, name: str, values: np.ndarray, axis: int, block: int) -> ir.Value:
        import ml_dtypes

        whole = float(np.abs(values).max()) / (_E4M3_LARGEST * _E2M1_LARGEST)
        # A power of two, which FP16 holds exactly.
        factor = max(_LEAST_SCALE, 2.0 ** math.ceil(math.log2(whole)) if whole else 1.0)
        wanted = _largest_of_blocks(values, axis, block) / (_E2M1_LARGEST * factor)
        scale = wanted.astype(ml_dtypes.float8_e4m3fn)
        real = scale.astype(np.float32) * factor
        q = values / np.repeat(np.where(real, real, 1.0), block, axis)
        stored = self._constant(f"{name}_fp4", q.clip(-_E2M1_LARGEST, _E2M1_LARGEST).astype(ml_dtypes.float4_e2m1fn))
        factors = self._constant(f"{name}_factor", np.float32(factor))
        scales = self._dequantize(f"{name}_scales", self._constant(f"{name}_scale", scale), factors)
        return self._dequantize(name, stored, scales, axis=axis, block_size=block)

    def _fp8_constant(self, name: str, values: np.ndarray) -> ir.Value:
        import ml_dtypes

        scale = max(float(np.abs(values).max()) / _E4M3_LARGEST, _LEAST_SCALE)
        stored = self._constant(f"{name}_fp8", (values / scale).astype(ml_dtypes.float8_e4m3fn))
        return self._dequantize(name, stored, self._constant(f"{name}_scale", np.float32(scale)))

    def _fp8_pair(self, value: ir.Value, scale: float) -> ir.Value:
        import ml_dtypes
        import onnx_ir as ir

        name = self._unique(str(value.name))
        scales = self._constant(f"{name}_scale", np.float32(max(scale, _LEAST_SCALE)))
        zero = self._constant(f"{name}_zero", np.zeros((), ml_dtypes.float8_e4m3fn))
        q = self._add("QuantizeLinear", [value, scales, zero], f"{name}_q", ir.DataType.FLOAT8E4M3FN, value.shape)
        return self._add("DequantizeLinear", [q, scales, zero], f"{name}_dq", ir.DataType.FLOAT, value.shape)

    def _dequantize(self, name: str, q: ir.Value, scale: ir.Value, **attributes: int) -> ir.Value:
        import onnx_ir as ir

        result = f"{self._unique(name)}_dq"
        return self._add("DequantizeLinear", [q, scale], result, ir.DataType.FLOAT, q.shape, **attributes)

    def _add(self, op: str, inputs: list[ir.Value], name: str, dtype: Any, shape: Any, **attributes: int) -> ir.Value:
        import onnx_ir as ir

        out = ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)
        self.model.graph.append(ir.node(op, inputs, attributes, outputs=[out], name=f"{name}_{op}"))
        return out

    def _constant(self, name: str, array: Any) -> ir.Value:
        import onnx_ir as ir

        name = self._unique(name)
        tensor = ir.tensor(np.asarray(array), name=name)
        shape = ir.Shape(tensor.shape)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
        self.model.graph.register_initializer(value)
        return value

    def _unique(self, name: str) -> str:
        taken = {*self.model.graph.initializers, *(v.name for node in self.model.graph for v in node.outputs)}
        candidates = (name if count == 0 else f"{name}_{count}" for count in range(len(taken) + 1))
        return next(c for c in candidates if not taken & {c, f"{c}_dq", f"{c}_q"})


def _weight(node: ir.Node) -> tuple[Any, int]:
    """Return a product's constant operand of two dimensions and the axis of its inputs, or None."""
    value = node.inputs[1]
    is_constant = value is not None and value.producer() is None and value.const_value is not None
    if not is_constant or len(value.const_value.shape) != 2:
        return None, 0
    transposed = node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].value
    return value, 1 if transposed else 0


def _largest_of_blocks(values: np.ndarray, axis: int, block: int) -> np.ndarray:
    """Return the largest magnitude of each block along ``axis``, in the shape of the blocks."""
    shape = list(values.shape)
    shape[axis : axis + 1] = [shape[axis] // block, block]
    return np.abs(values).reshape(shape).max(axis + 1)
