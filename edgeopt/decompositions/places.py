"""Places of values among sorted ones, by counting: exporters have no binary search.

searchsorted(edges, values)  =>  number of edges that are not >= the value; with ``right`` of those that are not > it

Counted by what is not above it, NaN lies behind all, as in torch.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.searchsorted.Tensor, aten.searchsorted.Scalar)
def searchsorted(
    edges: torch.Tensor, values: Any, out_int32: bool, right: bool, side: str | None, sorter: torch.Tensor | None
) -> torch.Tensor:
    """Return the places of ``values`` [.., m] among ``edges`` [n] or [.., n], which ``sorter`` [.., n] sorts."""
    edges = edges if sorter is None else edges.gather(-1, sorter)
    one = values.unsqueeze(-1) if isinstance(values, torch.Tensor) else values
    edges = edges.unsqueeze(-2) if edges.dim() > 1 else edges
    above = edges > one if right or side == "right" else edges >= one
    return (
        above.logical_not()
        .to(torch.int32 if out_int32 else torch.int64)
        .sum(-1, dtype=torch.int32 if out_int32 else None)
    )
