"""``edgeopt::hashed_attention``: EcoFormer's attention, by how many bits of the tokens' hash codes agree.

    query, key [batch, heads, tokens, d], value [batch, heads, tokens, e]  ->  [batch, heads, tokens, e]

With x a query or key of length 1, anchors a_j, m of them a head, offsets mu and b planes A a head:

    D_ij = |x_i - a_j|^2,    kappa_ij = exp(-D_ij / (2 sigma)),    sigma the mean of D over tokens and anchors
    h_i = sign(A (kappa_i - mu)),    a code of b signs, +1 of zero
    s_ij = h_i . h_j + c,    c = b + 1,    from 1 to 2b + 1

``form`` says what stands above N c + h_i . sum_j h_j:

    paper       h_i (sum_j h_j^T v_j) + c sum_j v_j    weights s_ij over their sum: a mean of the values
    released    h_i (sum_j h_j^T v_j) + c v_i          as the authors' code has it, and their checkpoints were trained

Time and memory are linear in the tokens, and products with codes are sums and differences. The codes of a token depend,
through sigma, on all tokens of its sample. The paper hashes queries and keys by one projection: both are then the same
value.

Source: J. Liu et al., EcoFormer: Energy-Saving Attention with Linear Complexity, NeurIPS 2022, and its code.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.recompute import register_gradients
from edgeopt.ops.scripting import Function, scripting
from edgeopt.quant.binary import signs

FORMS = ("paper", "released")
EPSILON = 1e-6
"""Least length that a query or key is divided by, and least sigma."""


class _Sign(torch.autograd.Function):
    """Signs whose gradient is that of a clamp to [-1, 1]."""

    @staticmethod
    def forward(context: Any, y: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(y)
        return signs(y)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = context.saved_tensors[0]
        return gradient * (y.abs() < 1)


def kernel(x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return the kernel [batch, heads, tokens, m] of queries or keys at ``anchors`` [heads, m, d]."""
    x = functional.normalize(x, dim=-1, eps=EPSILON)
    # |x - a|^2 = |x|^2 - 2 x.a + |a|^2: no tensor of tokens by anchors by channels.
    squares = x.square().sum(-1, keepdim=True) + anchors.square().sum(-1).unsqueeze(-2)
    distance = squares - 2 * (x @ anchors.mT)
    sigma = distance.mean((-2, -1), keepdim=True).clamp_min(EPSILON)
    return torch.exp(-distance / (2 * sigma))


def codes(x: torch.Tensor, anchors: torch.Tensor, offset: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Return the codes [batch, heads, tokens, bits] of queries or keys; ``anchors`` are [heads, m, d], ``offset``
    [heads, m], ``planes`` [heads, bits, m]."""
    sums = (kernel(x, anchors) - offset.unsqueeze(-2)) @ planes.mT
    apply: Any = _Sign.apply  # torch leaves it untyped
    codes: torch.Tensor = apply(sums) if torch.is_grad_enabled() else signs(sums)
    return codes


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    anchors: torch.Tensor,
    offset: torch.Tensor,
    planes: torch.Tensor,
    form: str = "paper",
) -> torch.Tensor:
    """Compute what the operator does in torch's own operators."""
    q, k = (codes(x, anchors, offset, planes) for x in (query, key))
    least = planes.shape[-2] + 1
    own = value if form == "released" else value.sum(-2, keepdim=True)
    total = (q * k.sum(-2, keepdim=True)).sum(-1, keepdim=True) + key.shape[-2] * least
    return (q @ (k.mT @ value) + least * own) / total


hashed_attention = torch.library.custom_op("edgeopt::hashed_attention", attend, mutates_args=())
HASHED_ATTENTION = torch.ops.edgeopt.hashed_attention.default

register_gradients(hashed_attention, attend)


@hashed_attention.register_fake
def _shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    anchors: torch.Tensor,
    offset: torch.Tensor,
    planes: torch.Tensor,
    form: str = "paper",
) -> torch.Tensor:
    torch._check(query.dim() == key.dim() == value.dim() == 4, lambda: "query, key and value have four dimensions")
    torch._check(form in FORMS, lambda: f"form is '{form}', not one of {', '.join(FORMS)}")
    heads, points, size = anchors.shape
    torch._check(size == query.shape[-1] == key.shape[-1], lambda: f"anchors of size {size} for {query.shape[-1]}")
    torch._check(offset.shape == (heads, points), lambda: f"offset {list(offset.shape)} for {heads} x {points} anchors")
    torch._check(planes.shape[::2] == (heads, points), lambda: f"planes {list(planes.shape)} for {points} anchors")
    return query.new_empty((*query.shape[:3], value.shape[-1]))


def _onnx() -> Function:
    op, script = scripting()

    @script
    def HashCodes(x: Any, anchors: Any, offset: Any, planes: Any, epsilon: float) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        both = op.Constant(value_ints=[-2, -1])
        least = op.CastLike(epsilon, x)
        unit = op.Div(x, op.Max(op.Sqrt(op.ReduceSum(op.Mul(x, x), last)), least))
        lengths = op.Unsqueeze(op.ReduceSum(op.Mul(anchors, anchors), last, keepdims=0), op.Constant(value_ints=[-2]))
        squares = op.Add(op.ReduceSum(op.Mul(unit, unit), last), lengths)
        products = op.MatMul(unit, op.Transpose(anchors, perm=[0, 2, 1]))
        distance = op.Sub(squares, op.Add(products, products))
        sigma = op.Max(op.ReduceMean(distance, both), least)
        kernel = op.Exp(op.Neg(op.Div(distance, op.Add(sigma, sigma))))
        moved = op.Sub(kernel, op.Unsqueeze(offset, op.Constant(value_ints=[-2])))
        sums = op.MatMul(moved, op.Transpose(planes, perm=[0, 2, 1]))
        return op.Where(op.GreaterOrEqual(sums, op.CastLike(0.0, x)), op.CastLike(1.0, x), op.CastLike(-1.0, x))

    @script
    def HashedAttention(q: Any, k: Any, v: Any, own: Any, least: float) -> Any:  # noqa: N802
        tokens = op.Constant(value_ints=[-2])
        c = op.CastLike(least, q)
        agreeing = op.MatMul(q, op.Transpose(op.ReduceSum(k, tokens), perm=[0, 1, 3, 2]))
        total = op.Add(agreeing, op.Mul(op.CastLike(op.Shape(k, start=2, end=3), q), c))
        summed = op.MatMul(q, op.MatMul(op.Transpose(k, perm=[0, 1, 3, 2]), v))
        return op.Div(op.Add(summed, op.Mul(own, c)), total)

    def emitted(query: Any, key: Any, value: Any, anchors: Any, offset: Any, planes: Any, form: Any = "paper") -> Any:
        q, k = (HashCodes(x, anchors, offset, planes, epsilon=EPSILON) for x in (query, key))
        own = value if form == "released" else op.ReduceSum(value, op.Constant(value_ints=[-2]))
        return HashedAttention(q, k, value, own, least=float(planes.shape[-2] + 1))

    return emitted


def _macs(a: Arguments) -> int:
    """Return distances to the anchors and planes of both, K^T V and its product with Q; codes by codes are one more."""
    images, (tokens, size), (keys, values) = math.prod(a["query"][:2]), a["query"][2:], a["value"][2:]
    bits, points = a["planes"][1:]
    return int(images * ((tokens + keys) * points * (size + bits) + (tokens + keys) * bits * values + tokens * bits))


register(Operator("edgeopt::hashed_attention", onnx=_onnx, reference=attend, macs=_macs, is_discontinuous=True))
