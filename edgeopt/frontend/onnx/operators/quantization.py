"""Programs that were quantized elsewhere: scales and zero points are carried through, never found anew.

QuantizeLinear and DequantizeLinear are edgeopt's own operators. Operators on integers (QLinearConv, MatMulInteger) are
the same operators on real values between these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeopt.frontend.onnx.call import MICROSOFT, Call, translates
from edgeopt.frontend.onnx.dtypes import torch_dtype
from edgeopt.frontend.onnx.operators.convolution import conv
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE

_STORED = (torch.uint8, torch.int8, torch.int32)


@translates("QuantizeLinear")
@translates("QuantizeLinear", domain=MICROSOFT)
def quantize(call: Call, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """To integers of 8 bits, one scale for all or one a channel."""
    dtype = _dtype(call, zero_point)
    if dtype not in _STORED[:2]:
        raise call.refused(f"quantizes to {_name(dtype)}; edgeopt has int8 and uint8")
    scale, zero_point, axis = _map(call, x, scale, zero_point, dtype)
    result: Tensor = QUANTIZE(x.float(), scale, zero_point, axis, dtype)
    return result


@translates("DequantizeLinear")
@translates("DequantizeLinear", domain=MICROSOFT)
def dequantize(call: Call, q: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """To real values."""
    if q.dtype not in _STORED:
        raise call.refused(f"holds integers of {_name(q.dtype)}; edgeopt has int8, uint8 and, for biases, int32")
    wanted = scale.dtype
    scale, zero_point, axis = _map(call, q, scale, zero_point, q.dtype)
    result: Tensor = DEQUANTIZE(q, scale, zero_point, axis)
    return result if wanted == torch.float32 else result.to(wanted)


def _dtype(call: Call, zero_point: Tensor | None) -> torch.dtype:
    if zero_point is not None:
        return zero_point.dtype
    return torch_dtype(call.get("output_dtype", 0) or 2)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _map(
    call: Call, x: Tensor, scale: Tensor, zero_point: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, int]:
    """Return scale, zero point and axis as edgeopt's operators take them."""
    if call.get("block_size", 0) or scale.dim() > 1:
        raise call.refused("has scales for blocks; edgeopt has one for all, or one a channel")
    if scale.dim() and scale.numel() == 1:
        scale, zero_point = scale.reshape(()), None if zero_point is None else zero_point.reshape(())
    if zero_point is None:
        zero_point = torch.zeros(scale.shape, dtype=dtype)
    return scale.float(), zero_point, call.get("axis", 1) % x.dim() if scale.dim() else 0


@translates("DynamicQuantizeLinear")
def dynamic_quantize(call: Call, x: Tensor) -> Any:
    """To uint8 by the range of the tensor itself, found as the model runs: in plain operators."""
    low, high = torch.clamp(x.amin(), max=0.0), torch.clamp(x.amax(), min=0.0)
    scale = (high - low) / 255.0
    zero = torch.clamp(torch.round(-low / scale), 0.0, 255.0)
    q = torch.clamp(torch.round(x / scale) + zero, 0.0, 255.0)
    return q.to(torch.uint8), scale, zero.to(torch.uint8)


def _shifted(q: Tensor, zero_point: Tensor | None, axis: int = -1) -> Tensor:
    """Return integers without their zero point, as float32, which holds them exactly."""
    if zero_point is None:
        return q.float()
    zero = zero_point.float()
    if zero.dim() == 1 and zero.numel() > 1:
        zero = zero.reshape([-1 if k == axis % q.dim() else 1 for k in range(q.dim())])
    return q.float() - zero


@translates("MatMulInteger")
def matmul_integer(call: Call, a: Tensor, b: Tensor, a_zero: Any = None, b_zero: Any = None) -> Tensor:
    """The product of integers: sums beyond 2^24 are rounded."""
    return torch.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero)).to(torch.int32)


@translates("ConvInteger")
def conv_integer(call: Call, x: Tensor, w: Tensor, x_zero: Any = None, w_zero: Any = None) -> Tensor:
    """The convolution of integers: sums beyond 2^24 are rounded."""
    return conv(call, _shifted(x, x_zero), _shifted(w, w_zero, 0)).to(torch.int32)


def _real(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int) -> Tensor:
    if scale.numel() == 1:
        scale, zero_point, axis = scale.reshape(()), zero_point.reshape(()), 0
    result: Tensor = DEQUANTIZE(q, scale, zero_point.expand_as(scale), axis)
    return result


def _integers(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    result: Tensor = QUANTIZE(x, scale.reshape(()), zero_point.reshape(()), 0, zero_point.dtype)
    return result


@translates("QLinearConv")
def qlinear_conv(
    call: Call, x: Tensor, xs: Tensor, xz: Tensor, w: Tensor, ws: Tensor, wz: Tensor, *rest: Any
) -> Tensor:
    """A convolution between quantized tensors; its bias is in steps of both scales."""
    ys, yz, *bias = rest
    real_bias = None
    if bias and bias[0] is not None:
        steps = xs.reshape(()) * ws
        real_bias = _real(bias[0], steps, torch.zeros(steps.shape, dtype=torch.int32), 0)
    return _integers(conv(call, _real(x, xs, xz, 0), _real(w, ws, wz, 0), real_bias), ys, yz)


@translates("QLinearMatMul")
def qlinear_matmul(
    call: Call, a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, *rest: Any
) -> Tensor:
    """A product of quantized matrices."""
    real = torch.matmul(_real(a, sa, za, a.dim() - 2), _real(b, sb, zb, b.dim() - 1))
    return _integers(real, rest[0], rest[1])


@translates("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_pair(
    call: Call, a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, *rest: Any
) -> Tensor:
    """A sum or product of quantized tensors."""
    combine = torch.add if call.op == "QLinearAdd" else torch.mul
    return _integers(combine(_real(a, sa, za, 0), _real(b, sb, zb, 0)), rest[0], rest[1])
