"""Products of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import MICROSOFT, Call, translates


@translates("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """As NumPy's."""
    return torch.matmul(a, b)


@translates("FusedMatMul", domain=MICROSOFT)
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Of transposed and scaled matrices."""
    call.require("transBatchA", 0)
    call.require("transBatchB", 0)
    a = a.transpose(-1, -2) if call.get("transA", 0) else a
    b = b.transpose(-1, -2) if call.get("transB", 0) else b
    alpha = call.get("alpha", 1.0)
    return torch.matmul(a, b) if alpha == 1 else torch.matmul(a, b) * alpha


@translates("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """``alpha * a @ b + beta * c``: a linear layer, as a rule."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    a = a.t() if call.get("transA", 0) else a
    weight = b if call.get("transB", 0) else b.t()
    if alpha == 1 and (c is None or (beta == 1 and c.dim() == 1 and c.shape[0] == weight.shape[0])):
        return F.linear(a, weight, c)
    product = F.linear(a, weight)
    product = product if alpha == 1 else product * alpha
    if c is None:
        return product
    return product + (c if beta == 1 else c * beta)


@translates("Einsum")
def einsum(call: Call, *values: Tensor) -> Tensor:
    """As torch's."""
    return torch.einsum(call.get("equation").replace(" ", ""), *values)
