"""``edgeopt::dequantize_blocks``: a matrix stored as four-bit elements with a scale for each block of a row.

    y[o, k] = element(codes[o, k]) * scale[o, k / block] * factor

``codes`` (uint8, O x K/2) holds two elements a byte, the first in the low half; ``element`` names them (``e2m1``,
``int4``, ...). ``scale`` (O x blocks) is of any float type, ``factor`` a float32 without dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeopt.ops import register_onnx
from edgeopt.quant.fp4 import E1M2, E2M1, E3M0, INT4, unpack

ELEMENTS = {element.name: element for element in (E1M2, E2M1, E3M0, INT4)}


@torch.library.custom_op("edgeopt::dequantize_blocks", mutates_args=())
def dequantize_blocks(codes: torch.Tensor, scale: torch.Tensor, factor: torch.Tensor, element: str) -> torch.Tensor:
    """Return the float32 matrix (O x K) that the codes stand for."""
    values = ELEMENTS[element].decode(unpack(codes)).unflatten(-1, (scale.shape[-1], -1))
    return (values * (scale.float() * factor).unsqueeze(-1)).flatten(-2)


@dequantize_blocks.register_fake
def _shape(codes: torch.Tensor, scale: torch.Tensor, factor: torch.Tensor, element: str) -> torch.Tensor:
    torch._check(element in ELEMENTS, lambda: f"there is no element '{element}'")
    torch._check(codes.dtype == torch.uint8, lambda: f"codes are {codes.dtype}, not uint8")
    torch._check(
        2 * codes.shape[-1] % scale.shape[-1] == 0,
        lambda: f"{2 * codes.shape[-1]} elements do not divide into {scale.shape[-1]} blocks",
    )
    return torch.empty(*codes.shape[:-1], 2 * codes.shape[-1], dtype=torch.float32, device=codes.device)


def _onnx() -> Callable:
    from onnxscript import opset20 as op

    def dequantize_blocks(codes, scale, factor, element):  # type: ignore[no-untyped-def]
        table = op.Constant(value_floats=ELEMENTS[element].table().tolist())
        low = op.BitwiseAnd(codes, op.Constant(value=_uint8(15)))
        high = op.BitShift(codes, op.Constant(value=_uint8(4)), direction="RIGHT")
        last = op.Constant(value_ints=[-1])
        pairs = op.Concat(op.Unsqueeze(low, last), op.Unsqueeze(high, last), axis=-1)
        values = op.Gather(table, op.Cast(pairs, to=_INT64))
        real = op.Mul(op.Cast(scale, to=_FLOAT), factor)
        blocks = op.Reshape(values, op.Concat(op.Shape(scale), last, axis=0))
        rows = op.Concat(op.Shape(codes, end=-1), last, axis=0)
        return op.Reshape(op.Mul(blocks, op.Unsqueeze(real, last)), rows)

    return dequantize_blocks


_FLOAT, _INT64 = 1, 7


def _uint8(value: int) -> object:
    import onnx

    return onnx.helper.make_tensor("value", onnx.TensorProto.UINT8, [], [value])


DEQUANTIZE_BLOCKS = torch.ops.edgeopt.dequantize_blocks.default

register_onnx("edgeopt::dequantize_blocks", _onnx)
