"""``edgeopt::fp4_linear``: a linear layer whose weight is E2M1, two numbers a byte, where a native kernel unpacks it.

    y[.., n] = factor sum_k x[.., k] e2m1(weight[n, k]) scale(n, k / group) + bias[n]

``x`` is [.., inputs], ``weight`` int8 [outputs, inputs / 2] (the even input in the low half), ``scales`` int8 [outputs,
inputs / group], both bit patterns; ``bias`` [outputs]. ``scale_kind`` says what the scales are: 0 E4M3, 1 powers of two
(E8M0). NVFP4 has the former and groups of 16, MXFP4 the latter and groups of 32.

It is ``linear(x, dequantize_blocks(...), bias)`` as one operator; see ``edgeopt.ops.dequantize_blocks``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.float4 import E2M1, unpack

SCALES = {torch.float8_e4m3fn: 0, torch.float8_e8m0fnu: 1}
"""``scale_kind`` by the type of the scales."""


@torch.library.custom_op("edgeopt::fp4_linear", mutates_args=())
def fp4_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor,
    factor: float,
    group: int,
    scale_kind: int,
) -> torch.Tensor:
    """Return the layer's output [.., outputs]; see the module."""
    kind = next(dtype for dtype, number in SCALES.items() if number == scale_kind)
    values = torch.unflatten(E2M1.decode(unpack(weight.view(torch.uint8))), -1, (-1, group))
    real = (values * (scales.view(kind).float() * factor).unsqueeze(-1)).flatten(-2)
    return functional.linear(x, real.to(x.dtype), bias)


@fp4_linear.register_fake
def _shape(
    x: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor,
    factor: float,
    group: int,
    scale_kind: int,
) -> torch.Tensor:
    inputs, outputs = x.shape[-1], weight.shape[0]
    torch._check(weight.dtype == scales.dtype == torch.int8, lambda: "weight and scales are bytes, torch.int8")
    torch._check(2 * weight.shape[-1] == inputs, lambda: f"{2 * weight.shape[-1]} elements for {inputs} inputs")
    torch._check(
        group * scales.shape[-1] == inputs, lambda: f"{scales.shape[-1]} groups of {group} for {inputs} inputs"
    )
    torch._check(scale_kind in SCALES.values(), lambda: f"there is no scale kind {scale_kind}")
    return x.new_empty((*x.shape[:-1], outputs))


FP4_LINEAR = torch.ops.edgeopt.fp4_linear.default


def _onnx() -> Function:
    op, script = scripting()

    elements, scale_values = _tables()

    @script
    def Fp4Linear(x: Any, weight: Any, scales: Any, bias: Any, factor: float, group: int, scale_kind: int) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        sixteen = op.Constant(value_int=16)
        bytes_ = op.Constant(value_int=256)
        codes = op.Mod(op.Cast(weight, to=7), bytes_)
        low = op.Mod(codes, sixteen)
        high = op.Div(codes, sixteen)
        pairs = op.Concat(op.Unsqueeze(low, last), op.Unsqueeze(high, last), axis=-1)
        values = op.Gather(op.Constant(value=elements), pairs)
        scale_of = op.Gather(op.Constant(value=scale_values), op.Constant(value_int=scale_kind))
        real = op.Gather(scale_of, op.Mod(op.Cast(scales, to=7), bytes_))
        scaled = op.Mul(op.Unsqueeze(real, last), op.Constant(value_float=factor))
        blocks = op.Reshape(values, op.Concat(op.Shape(scales), last, axis=0))
        rows = op.Concat(op.Shape(weight, start=0, end=1), last, axis=0)
        matrix = op.CastLike(op.Reshape(op.Mul(blocks, scaled), rows), x)
        return op.Add(op.MatMul(x, op.Transpose(matrix, perm=[1, 0])), bias)

    return Fp4Linear


def _tables() -> tuple[Any, Any]:
    """Return what the codes of elements stand for, and the bytes of scales by kind."""
    from onnx import TensorProto, helper

    every = torch.arange(256, dtype=torch.uint8)
    scales = torch.stack([every.view(dtype).float() for dtype in SCALES])
    return (
        helper.make_tensor("elements", TensorProto.FLOAT, [16], E2M1.table().tolist()),
        helper.make_tensor("scales", TensorProto.FLOAT, list(scales.shape), scales.flatten().tolist()),
    )


def _macs(a: Arguments) -> int:
    return int(math.prod(a["x"]) * a["weight"][0])


register(Operator("edgeopt::fp4_linear", onnx=_onnx, macs=_macs))
