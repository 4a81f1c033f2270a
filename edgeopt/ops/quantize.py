"""``edgeopt::quantize`` and ``edgeopt::dequantize``: the affine map between real values and integers.

    q = saturate(round_half_even(x / scale) + zero_point)        x' = (q - zero_point) * scale

``scale`` (float32) and ``zero_point`` (of the integer dtype) are constants of the program. Their shape says the
granularity: ``[]`` is one pair for the whole tensor, ``[C]`` one pair for each index along ``axis``; ``axis`` is
not negative, and 0 where it plays no part. This is what ONNX calls QuantizeLinear and DequantizeLinear.

``element`` names the 4-bit format (a key of ``edgeopt.quant.codebook.ELEMENTS``) whose sixteen integers a stored weight
is made of, and is empty for all of int8. It changes no value: it is what a target that stores codes has to know.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.ops.operator import Operator, register
from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.qparams import Affine


@torch.library.custom_op("edgeopt::quantize", mutates_args=())
def quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return the integers nearest to ``x``, of the same shape; ties go to the even one, what is outside saturates."""
    info = torch.iinfo(dtype)
    shape = _broadcast_shape(x, scale, axis)
    q = torch.round(x / scale.view(shape)) + zero_point.view(shape)
    return q.clamp_(info.min, info.max).to(dtype)


@torch.library.custom_op("edgeopt::dequantize", mutates_args=())
def dequantize(
    q: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, element: str = ""
) -> torch.Tensor:
    """Return the float32 values that the integers ``q`` stand for, of the same shape."""
    shape = _broadcast_shape(q, scale, axis)
    # float32 holds the narrow integers, float64 every int32: either way the product is rounded once.
    wide = q.double() if q.dtype == torch.int32 else q.float()
    return ((wide - zero_point.view(shape)) * scale.view(shape)).float()


@quantize.register_fake
def _quantize_shape(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, dtype: torch.dtype
) -> torch.Tensor:
    _check(x, scale, zero_point, axis)
    torch._check(zero_point.dtype == dtype, lambda: f"zero_point is {zero_point.dtype}, the result {dtype}")
    return torch.empty_like(x, dtype=dtype)


@dequantize.register_fake
def _dequantize_shape(
    q: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int, element: str = ""
) -> torch.Tensor:
    _check(q, scale, zero_point, axis)
    torch._check(zero_point.dtype == q.dtype, lambda: f"zero_point is {zero_point.dtype}, the integers {q.dtype}")
    return torch.empty_like(q, dtype=torch.float32)


def _check(x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, axis: int) -> None:
    torch._check(scale.shape == zero_point.shape, lambda: f"scale {scale.shape}, zero_point {zero_point.shape}")
    torch._check(scale.dim() <= 1, lambda: f"scale has {scale.dim()} dimensions, it must have none or one")
    if scale.dim() == 1:
        torch._check(0 <= axis < x.dim(), lambda: f"axis {axis} of a tensor of {x.dim()} dimensions")
        torch._check(x.shape[axis] == scale.shape[0], lambda: f"{scale.shape[0]} scales for {x.shape[axis]} channels")


def rounded_to(values: torch.Tensor, affine: Affine) -> torch.Tensor:
    """Return real values as the integers nearest to them stand for."""
    q = quantize(values, affine.scale, affine.zero_point, affine.axis, affine.dtype)
    rounded: torch.Tensor = dequantize(q, affine.scale, affine.zero_point, affine.axis)
    return rounded


def _broadcast_shape(x: torch.Tensor, scale: torch.Tensor, axis: int) -> list[int]:
    return [-1 if scale.dim() and dim == axis else 1 for dim in range(x.dim())]


def _onnx_quantize() -> Function:
    op, _ = scripting()

    def quantize(x: Any, scale: Any, zero_point: Any, axis: Any, dtype: Any) -> Any:
        return op.QuantizeLinear(x, scale, zero_point, axis=axis)

    return quantize


def _onnx_dequantize() -> Function:
    op, _ = scripting()

    def dequantize(q: Any, scale: Any, zero_point: Any, axis: Any, element: Any = "") -> Any:
        return op.DequantizeLinear(q, scale, zero_point, axis=axis)

    return dequantize


QUANTIZE = torch.ops.edgeopt.quantize.default
DEQUANTIZE = torch.ops.edgeopt.dequantize.default

register(Operator("edgeopt::quantize", onnx=_onnx_quantize))
register(Operator("edgeopt::dequantize", onnx=_onnx_dequantize, stored_weight="q"))
