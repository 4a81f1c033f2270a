"""Distances between all pairs of rows, from their differences.

    cdist(a, b, p)[i, j] = (sum over k of |a[i, k] - b[j, k]|^p)^(1/p);   p = 0 counts, p = inf takes the largest

For p = 1 exporters differentiate a root and get NaN; for p = 2 they expand the square, which loses the digits of
distances between near points.

Source: torch, documentation of ``torch.cdist``.
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.cdist.default, aten._cdist_forward.default)
def pairwise_distances(a: torch.Tensor, b: torch.Tensor, p: float, _mode: int | None) -> torch.Tensor:
    """Return the distances [..., P, R] of the rows of ``a`` [..., P, M] and ``b`` [..., R, M]."""
    return _norm(a.unsqueeze(-2) - b.unsqueeze(-3), p)


@decomposes(aten.pdist.default, aten._pdist_forward.default)
def distances_within(x: torch.Tensor, p: float) -> torch.Tensor:
    """Return the distances of the rows i < j of ``x`` [N, M], in the order of pairs."""
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1)
    return _norm(x.index_select(0, first) - x.index_select(0, second), p)


def _norm(difference: torch.Tensor, p: float) -> torch.Tensor:
    size = difference.abs()
    if p == 0:
        return (size > 0).to(size.dtype).sum(-1)
    if p == torch.inf:
        return size.amax(-1)
    if p == 1:
        return size.sum(-1)
    return size.square().sum(-1).sqrt() if p == 2 else size.pow(p).sum(-1).pow(1 / p)
