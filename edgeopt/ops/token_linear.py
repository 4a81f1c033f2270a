"""``edgeopt::round_tokens`` and ``edgeopt::token_linear``: activations in int8 with a scale for each token.

A token is a vector along the last axis; its scale is its largest magnitude over 127, found as the network runs:

    round_tokens(x) = s q,    q = round_half_even(x / s),    s = max |x| / 127
    token_linear(x, w, v, b) = s v (q w^T) + b

with w int8 (outputs x inputs), v the scale of each output (float32) and q w^T a product of integers. A token of zeros
has the scale 1. Source: Z. Yao et al., ZeroQuant: Efficient and Affordable Post-Training Quantization for Large-Scale
Transformers, NeurIPS 2022, section 4.1.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.scripting import Function, scripting

_LIMIT = 127


@torch.library.custom_op("edgeopt::round_tokens", mutates_args=())
def round_tokens(x: torch.Tensor) -> torch.Tensor:
    """Return what the integers of each token stand for, of the same shape."""
    integers, scale = _integers(x)
    return integers * scale


@torch.library.custom_op("edgeopt::token_linear", mutates_args=())
def token_linear(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the linear layer of ``x`` (..., inputs): (..., outputs)."""
    integers, tokens = _integers(x)
    # In float64 the sum of products of integers is exact.
    product = (integers.double() @ weight.double().T).float() * tokens * scale
    return product if bias is None else product + bias


def _integers(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    largest = x.abs().amax(-1, keepdim=True)
    scale = torch.where(largest > 0, largest / _LIMIT, 1.0)
    return torch.round(x / scale), scale


@round_tokens.register_fake
def _same_shape(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@token_linear.register_fake
def _linear_shape(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    torch._check(weight.dtype == torch.int8, lambda: f"the weight is {weight.dtype}, not int8")
    torch._check(scale.shape == weight.shape[:1], lambda: f"{scale.shape} scales for {weight.shape[0]} outputs")
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _onnx_round_tokens() -> Function:
    def round_tokens(x: Any) -> Any:
        op, _ = scripting()
        integers, scale = _emit_integers(x)
        return op.Mul(integers, scale)

    return round_tokens


def _onnx_token_linear() -> Function:
    def token_linear(x: Any, weight: Any, scale: Any, bias: Any = None) -> Any:
        op, _ = scripting()
        integers, tokens = _emit_integers(x)
        product = op.MatMulInteger(op.Cast(integers, to=_INT8), op.Transpose(weight, perm=[1, 0]))
        real = op.Mul(op.Mul(op.Cast(product, to=_FLOAT), tokens), scale)
        return real if bias is None else op.Add(real, bias)

    return token_linear


_FLOAT, _INT8 = 1, 3


def _emit_integers(x: Any) -> tuple[Any, Any]:
    op, _ = scripting()

    largest = op.ReduceMax(op.Abs(x), op.Constant(value_ints=[-1]), keepdims=1)
    is_zero = op.Equal(largest, op.Constant(value_float=0.0))
    scale = op.Where(is_zero, op.Constant(value_float=1.0), op.Div(largest, op.Constant(value_float=float(_LIMIT))))
    return op.Round(op.Div(x, scale)), scale


ROUND_TOKENS = torch.ops.edgeopt.round_tokens.default
TOKEN_LINEAR = torch.ops.edgeopt.token_linear.default


def _macs(a: Arguments) -> int:
    return int(math.prod(a["x"]) * a["weight"][0])


register(Operator("edgeopt::round_tokens", onnx=_onnx_round_tokens))
register(Operator("edgeopt::token_linear", onnx=_onnx_token_linear, macs=_macs))
