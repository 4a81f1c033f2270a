"""Bags of embeddings as rows that are gathered and added up, each to its bag.

    bag(i) = number of bags that begin at or before index i, less one
    sum: y[b] = sum of w[i] * weight[indices[i]] over bag(i) = b;   mean: divided by their number;   max: the largest

Indices equal to ``padding_idx`` and those behind the last offset belong to no bag; a bag without any is 0.

Source: torch, aten/src/ATen/native/EmbeddingBag.cpp.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten

_SUM, _MEAN = 0, 1


@decomposes(
    aten.embedding_bag.padding_idx,
    aten.embedding_bag.default,
    aten._embedding_bag.default,
    aten._embedding_bag_forward_only.default,
)
def embedding_bag(
    weight: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor, _scale: bool, mode: int, *options: Any
) -> tuple[torch.Tensor]:
    """Return a value [bags, D] for each bag of ``indices`` [n] into ``weight`` [rows, D], as the only item."""
    _sparse, factors, has_end, *padding = options
    begins = offsets[:-1] if has_end else offsets
    place = torch.arange(indices.shape[0])
    bag = (place[:, None] >= begins[None, 1:]).sum(1)
    belongs = (place < offsets[-1]) if has_end else torch.ones_like(indices, dtype=torch.bool)
    if padding and padding[0] not in (None, -1):
        belongs = belongs & (indices != padding[0])
    rows = functional.embedding(indices, weight)
    if factors is not None:
        rows = rows * factors[:, None]
    index = bag[:, None].expand(rows.shape)
    empty = weight.new_zeros(begins.shape[0], weight.shape[1])
    count = empty.scatter_add(0, index, belongs[:, None].expand(rows.shape).to(weight.dtype))
    if mode in (_SUM, _MEAN):
        total = empty.scatter_add(0, index, torch.where(belongs[:, None], rows, 0.0))
        return (total / count.clamp(min=1) if mode == _MEAN else total,)
    lowest = torch.where(belongs[:, None], rows, -torch.inf)
    largest = (empty - torch.inf).scatter_reduce(0, index, lowest, "amax")
    return (torch.where(count > 0, largest, 0.0),)
