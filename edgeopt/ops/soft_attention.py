"""``edgeopt::soft_attention``: attention by a Gaussian kernel, of low rank by landmarks, without a softmax.

    query [batch, heads, tokens, d], landmarks [batch, heads, m, d], value [batch, heads, tokens, e]
                                                                  ->  [batch, heads, tokens, e]

    out = A P^-1 (A^T V),    A = G(Q, L),    P = G(L, L) + 0.01 I,    G(a, b) = exp(-|a - b|^2 / 2)

Queries are keys too, already divided by d^(1/4). The inverse is Newton's, which takes products only:

    X_0 = 1.8 / r^2 P,    X <- 2 X - X P X    ``iterations`` times,    r the largest row sum of P

``normalized`` divides by the roots of P's row sums on both sides, D^(-1/2) P^-1 D^(-1/2). The layers that make the
landmarks, and the convolution of the values that the paper adds to the result, are layers of their own. What is
published adapts the start to the data until it converges; a fixed number of steps from a fixed start does not branch.

Source: Lu et al., SOFT: Softmax-free Transformer with Linear Complexity, NeurIPS 2021, and Softmax-free Linear
Transformers, IJCV 2024, for the normalized form.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.recompute import register_gradients
from edgeopt.ops.scripting import Function, scripting

_RIDGE = 0.01
_START = 1.8


def attend(
    query: torch.Tensor,
    landmarks: torch.Tensor,
    value: torch.Tensor,
    iterations: int = 20,
    normalized: bool = False,
) -> torch.Tensor:
    """Compute what the operator does in torch's own operators."""
    near = _gaussian(query, landmarks)
    kernel = _gaussian(landmarks, landmarks)
    inverse = newton_inverse(kernel, iterations)
    if normalized:
        root = kernel.sum(-1, keepdim=True).rsqrt()
        inverse = root * inverse * root.mT
    return near @ (inverse @ (near.mT @ value))


soft_attention = torch.library.custom_op("edgeopt::soft_attention", attend, mutates_args=())
SOFT_ATTENTION = torch.ops.edgeopt.soft_attention.default

register_gradients(soft_attention, attend)


def newton_inverse(kernel: torch.Tensor, iterations: int) -> torch.Tensor:
    """Return the inverse of kernel matrices [..., m, m], symmetric and positive, after so many steps."""
    ridged = kernel + _RIDGE * torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    largest = ridged.sum(-1, keepdim=True).amax(-2, keepdim=True)
    inverse = _START / largest**2 * ridged
    for _ in range(iterations):
        inverse = 2 * inverse - inverse @ ridged @ inverse
    return inverse


def _gaussian(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    squares = (a * a).sum(-1, keepdim=True) + (b * b).sum(-1, keepdim=True).mT
    return (a @ b.mT - squares / 2).exp()


@soft_attention.register_fake
def _shape(
    query: torch.Tensor,
    landmarks: torch.Tensor,
    value: torch.Tensor,
    iterations: int = 20,
    normalized: bool = False,
) -> torch.Tensor:
    torch._check(query.dim() == landmarks.dim() == value.dim() == 4, lambda: "operands have four dimensions")
    torch._check(query.shape[-1] == landmarks.shape[-1], lambda: f"queries {query.shape}, landmarks {landmarks.shape}")
    torch._check(query.shape[2] == value.shape[2], lambda: f"{query.shape[2]} queries, {value.shape[2]} values")
    torch._check(iterations > 0, lambda: f"{iterations} iterations")
    return query.new_empty((*query.shape[:3], value.shape[-1]))


def _onnx() -> Function:
    op, script = scripting()

    @script
    def SoftAttention(q: Any, landmarks: Any, v: Any, iterations: int, normalized: int) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[-1])
        rows = op.Constant(value_ints=[-2])
        half = op.CastLike(0.5, q)
        turned = op.Transpose(landmarks, perm=[0, 1, 3, 2])
        q_squares = op.ReduceSum(op.Mul(q, q), last, keepdims=1)
        squares = op.ReduceSum(op.Mul(turned, turned), rows, keepdims=1)
        own_squares = op.ReduceSum(op.Mul(landmarks, landmarks), last, keepdims=1)
        near = op.Exp(op.Sub(op.MatMul(q, turned), op.Mul(op.Add(q_squares, squares), half)))
        kernel = op.Exp(op.Sub(op.MatMul(landmarks, turned), op.Mul(op.Add(own_squares, squares), half)))
        size = op.Shape(landmarks, start=2, end=3)
        index = op.Range(op.Constant(value_int=0), op.Squeeze(size), op.Constant(value_int=1))
        unit = op.CastLike(op.Equal(op.Unsqueeze(index, last), index), q)
        ridged = op.Add(kernel, op.Mul(unit, op.CastLike(0.01, q)))
        largest = op.ReduceMax(op.ReduceSum(ridged, last, keepdims=1), rows, keepdims=1)
        inverse = op.Mul(op.Div(op.CastLike(1.8, q), op.Mul(largest, largest)), ridged)
        for _ in range(iterations):
            product = op.MatMul(op.MatMul(inverse, ridged), inverse)
            inverse = op.Sub(op.Add(inverse, inverse), product)
        sums = op.ReduceSum(kernel, last, keepdims=1)
        root = op.Pow(sums, op.Mul(op.CastLike(normalized, q), op.CastLike(-0.5, q)))
        scaled = op.Mul(op.Mul(root, inverse), op.Transpose(root, perm=[0, 1, 3, 2]))
        gathered = op.MatMul(op.Transpose(near, perm=[0, 1, 3, 2]), v)
        return op.MatMul(near, op.MatMul(scaled, gathered))

    def soft_attention(query: Any, landmarks: Any, value: Any, iterations: Any = 20, normalized: Any = False) -> Any:
        return SoftAttention(query, landmarks, value, iterations=iterations, normalized=int(normalized))

    return soft_attention


def _macs(a: Arguments) -> int:
    """Return both kernels, Newton's steps, and the products with the values."""
    images, (tokens, size), values = math.prod(a["query"][:2]), a["query"][2:], a["value"][3]
    marks = a["landmarks"][2]
    inverse = 2 * a["iterations"] * marks**3
    return int(images * (marks * (tokens + marks) * (size + values) + marks * tokens * values + inverse))


register(Operator("edgeopt::soft_attention", onnx=_onnx, reference=attend, macs=_macs))
