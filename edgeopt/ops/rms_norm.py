"""``edgeopt::rms_norm``: the root mean square norm of the last axis, where a native kernel takes its place.

    y = x / sqrt(mean(x^2) + epsilon) * weight

``x`` is [.., width], ``weight`` [width]. torch has ``aten::rms_norm`` for any axes and without a weight; this is the
one form that kernels have. In ONNX it is a function that squares in float32, as the kernels do, whatever ``x`` is.

Source: B. Zhang, R. Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.ops.operator import Operator, register
from edgeopt.ops.scripting import Function, scripting


@torch.library.custom_op("edgeopt::rms_norm", mutates_args=())
def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the norm, of ``x``'s shape."""
    return functional.rms_norm(x, weight.shape, weight, epsilon)


@rms_norm.register_fake
def _shape(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    torch._check(weight.shape == x.shape[-1:], lambda: f"weight {list(weight.shape)} for rows of {x.shape[-1]}")
    return torch.empty_like(x)


RMS_NORM = torch.ops.edgeopt.rms_norm.default


def _onnx() -> Function:
    op, script = scripting()

    @script
    def RmsNorm(x: Any, weight: Any, epsilon: float) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        wide = op.Cast(x, to=1)
        mean = op.ReduceMean(op.Mul(wide, wide), last, keepdims=1)
        root = op.Sqrt(op.Add(mean, op.CastLike(epsilon, mean)))
        return op.Mul(op.CastLike(op.Div(wide, root), x), weight)

    return RmsNorm


register(Operator("edgeopt::rms_norm", onnx=_onnx))
