"""``edgeopt::binary_matmul``: a product of two activations of one bit each, as attention of signs has two.

    out = scale A B,    B = sign(b + b_shift),    A = sign(a + a_shift)
                                                  with ``bits`` A = 1 where a + a_shift >= 0, else 0

``a`` is [.., n, k], ``b`` [.., k, m], out [.., n, m]; leading dimensions broadcast. The sign is +1 of zero. Queries by
keys are signs by signs, attention by values bits by signs: what is masked is 0 and counts nowhere. Counted in words

    signs by signs    k - 2 popcount(a xor b)
    bits by signs     2 popcount(a and b) - popcount(a)

the sums are the same integers, exact in float32 up to 2^24 of them.

Source: X. Xing et al., BiPFT: Binary Pre-trained Foundation Transformer, AAAI 2024.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.binary import signs


@torch.library.custom_op("edgeopt::binary_matmul", mutates_args=())
def binary_matmul(
    a: torch.Tensor, b: torch.Tensor, a_shift: float, b_shift: float, scale: float, bits: bool
) -> torch.Tensor:
    """Return the scaled product [.., n, m]; see the module."""
    left = signs(a + a_shift)
    return (left.clamp_min(0) if bits else left) @ signs(b + b_shift) * scale


BINARY_MATMUL = torch.ops.edgeopt.binary_matmul.default


@binary_matmul.register_fake
def _shape(a: torch.Tensor, b: torch.Tensor, a_shift: float, b_shift: float, scale: float, bits: bool) -> torch.Tensor:
    torch._check(a.dim() >= 2 and b.dim() >= 2, lambda: f"matrices are wanted, not {a.dim()} and {b.dim()} dimensions")
    torch._check(a.shape[-1] == b.shape[-2], lambda: f"{a.shape[-1]} columns for {b.shape[-2]} rows")
    leading = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.new_empty((*leading, a.shape[-2], b.shape[-1]))


def _onnx() -> Function:
    op, script = scripting()

    @script
    def BinaryMatmul(a: Any, b: Any, a_shift: float, b_shift: float, scale: float, low: float) -> Any:  # noqa: N802
        zero = op.CastLike(0.0, a)
        plus = op.CastLike(1.0, a)
        left = op.Where(op.GreaterOrEqual(op.Add(a, op.CastLike(a_shift, a)), zero), plus, op.CastLike(low, a))
        right = op.Where(op.GreaterOrEqual(op.Add(b, op.CastLike(b_shift, a)), zero), plus, op.CastLike(-1.0, a))
        return op.Mul(op.MatMul(left, right), op.CastLike(scale, a))

    def emitted(a: Any, b: Any, a_shift: Any, b_shift: Any, scale: Any, bits: Any) -> Any:
        return BinaryMatmul(a, b, a_shift=a_shift, b_shift=b_shift, scale=scale, low=0.0 if bits else -1.0)

    return emitted


def _macs(a: Arguments) -> int:
    return int(math.prod(a["result"]) * a["a"][-1])


register(Operator("edgeopt::binary_matmul", onnx=_onnx, macs=_macs, is_discontinuous=True))
