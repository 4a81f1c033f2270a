"""Powers of square matrices as products, in the order in which torch multiplies them.

matrix_power(x, 5)  =>  (x @ x) @ (x @ x) @ x, by the bits of 5

Source: torch, aten/src/ATen/native/LinearAlgebra.cpp (``linalg_matrix_power_impl``).
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.linalg_matrix_power.default, where=lambda given: given["n"] >= 0)
def matrix_power(x: torch.Tensor, n: int) -> torch.Tensor:
    """Return the ``n``-th power of ``x`` [.., k, k]."""
    if n == 0:
        return torch.eye(x.shape[-1], dtype=x.dtype).expand(x.shape).clone()
    if n == 3:
        return x @ x @ x
    power, result = x, None
    while n > 0:
        if n % 2:
            result = power if result is None else result @ power
        n //= 2
        power = power @ power if n else power
    assert result is not None  # the highest bit is set
    return result.clone()
