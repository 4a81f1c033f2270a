"""Feature maps of linear attention: phi(q) . phi(k) stands for the softmax's exp(q . k / sqrt(d)).

Each takes x [..., tokens, d] and gives [..., tokens, features]. Learned maps read ``weight`` [heads, d, f] and an
optional ``bias`` [heads, 1, f].

| name                     | phi(x), with z = x W + b                 | features         | source              |
|--------------------------|------------------------------------------|------------------|---------------------|
| relu                     | max(x, 0)                                | d                | SLAB, ICML 2024     |
| elu                      | elu(x) + 1                               | d                | Katharopoulos 2020  |
| taylor                   | 1, x / d^(1/4), x_i x_j / sqrt(d) (i<j), | 1 + d + d(d+1)/2 | BASED, ICML 2024    |
|                          | x_i^2 / sqrt(2d)                         |                  |                     |
| hedgehog-exp             | exp(z), exp(-z)                          | 2f               | Hedgehog, ICLR 2024 |
| hedgehog-split-softmax   | softmax(z), softmax(-z), at least 1e-12  | 2f               | LoLCATs, ICLR 2025  |
| hedgehog-joint-softmax   | softmax over [2z, -2z]                   | 2f               | flash-linear-att.   |

The three Hedgehogs share their parameters and are three functions: a model that was trained with one is wrong
under another. Taylor's products are kept once for each pair, which the dot product counts twice: 153 features for
d = 16 where the full square has 273.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeopt.ops.operator import Arguments

LEARNED = frozenset({"hedgehog-exp", "hedgehog-split-softmax", "hedgehog-joint-softmax"})
MAPS = LEARNED | {"relu", "elu", "taylor"}
"""Maps of normalized linear attention, each the whole of its method."""

_FLOOR = 1e-12


def feature_map(
    name: str, x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return phi(x); raises KeyError where there is no such map."""
    if name in LEARNED:
        assert weight is not None
        z = x @ weight
        return _HEDGEHOGS[name](z if bias is None else z + bias)
    return _FIXED[name](x)


def feature_count(kind: str, size: int, columns: int = 0) -> int:
    """Return how many features a token of ``size`` channels has; a learned map's matrices have ``columns``.

    Kinds of linear attention without a map keep the channels.
    """
    if kind in LEARNED:
        return 2 * columns  # both signs of what the matrix gives
    return feature_map(kind, torch.zeros(1, size)).shape[-1] if kind in MAPS else size


def counted(a: Arguments) -> tuple[int, int]:
    """Return how many features a token has, and how many columns of matrices make them, of an operator's arguments."""
    columns = a["query_weight"][-1] if a["query_weight"] is not None else 0
    return feature_count(a["feature_map"], a["query"][3], columns), columns


def pairs(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices i < j of all pairs of ``size`` channels."""
    i, j = torch.triu_indices(size, size, 1)
    return i, j


def _taylor(x: torch.Tensor) -> torch.Tensor:
    size = x.shape[-1]
    i, j = pairs(size)
    # (sum_i a_i b_i)^2 / 2 = sum_{i<j} (a_i a_j)(b_i b_j) + sum_i a_i^2 b_i^2 / 2
    products = x[..., i] * x[..., j] * size**-0.5
    squares = x * x * (2 * size) ** -0.5
    return torch.cat([torch.ones_like(x[..., :1]), x * size**-0.25, products, squares], -1)


def _exponentials(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([z, -z], -1).exp()


def _split_softmax(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([z.softmax(-1), (-z).softmax(-1)], -1).clamp_min(_FLOOR)


def _joint_softmax(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([2 * z, -2 * z], -1).softmax(-1)


_FIXED = {"relu": torch.relu, "elu": lambda x: functional.elu(x) + 1, "taylor": _taylor}
_HEDGEHOGS = {
    "hedgehog-exp": _exponentials,
    "hedgehog-split-softmax": _split_softmax,
    "hedgehog-joint-softmax": _joint_softmax,
}
