"""``edgeopt::dequantize_blocks``: a matrix stored as four-bit elements with a scale for each block of a row.

    y[o, k] = element(codes[o, k]) * scale[o, k / block] * factor

``codes`` (uint8, O x K/2) holds two elements a byte, the first in the low half; ``element`` names them (``e2m1``,
``int4``, ...). ``scale`` (O x blocks) is of a float type, or uint8 for powers of two (E8M0: 2^(scale - 127)).
``factor`` is a float32 without dimensions.
"""

from __future__ import annotations

import torch

from edgeopt.ops.operator import Operator, register
from edgeopt.ops.scripting import Function
from edgeopt.quant.float4 import E1M2, E2M1, E3M0, INT4, unpack

ELEMENTS = {element.name: element for element in (E1M2, E2M1, E3M0, INT4)}


@torch.library.custom_op("edgeopt::dequantize_blocks", mutates_args=())
def dequantize_blocks(codes: torch.Tensor, scale: torch.Tensor, factor: torch.Tensor, element: str) -> torch.Tensor:
    """Return the float32 matrix (O x K) that the codes stand for."""
    values = torch.unflatten(ELEMENTS[element].decode(unpack(codes)), -1, (scale.shape[-1], -1))
    return (values * real_scale(scale, factor).unsqueeze(-1)).flatten(-2)


def real_scale(scale: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return the scales (float32) that stored ones stand for."""
    return (scale.view(torch.float8_e8m0fnu) if scale.dtype is torch.uint8 else scale).float() * factor


@dequantize_blocks.register_fake
def _shape(codes: torch.Tensor, scale: torch.Tensor, factor: torch.Tensor, element: str) -> torch.Tensor:
    torch._check(element in ELEMENTS, lambda: f"there is no element '{element}'")
    torch._check(codes.dtype == torch.uint8, lambda: f"codes are {codes.dtype}, not uint8")
    torch._check(
        2 * codes.shape[-1] % scale.shape[-1] == 0,
        lambda: f"{2 * codes.shape[-1]} elements do not divide into {scale.shape[-1]} blocks",
    )
    return torch.empty(*codes.shape[:-1], 2 * codes.shape[-1], dtype=torch.float32, device=codes.device)


def _onnx() -> Function:
    from edgeopt.ops.dequantize_blocks_onnx import build

    return build(ELEMENTS)


DEQUANTIZE_BLOCKS = torch.ops.edgeopt.dequantize_blocks.default

register(Operator("edgeopt::dequantize_blocks", onnx=_onnx, stored_weight="codes"))
