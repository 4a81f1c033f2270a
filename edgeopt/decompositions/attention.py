"""Attention under a mask that may hide whole rows, for which attention is defined as 0.

    attention(q, k, v, mask)  =>  attention(q, k, v, bias) * any

``bias`` is the mask as numbers, its -inf raised to the lowest float; ``any`` is 0 for a row that the mask hides
altogether, else 1. With -inf itself such a row becomes NaN in runtimes, or the mean of all values.

Source: torch, ``_safe_softmax`` in aten/src/ATen/native/SoftMax.cpp, by which attention is computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from edgeopt.decompositions.writing_out import Arguments, decomposes


def _may_hide_rows(given: Arguments) -> bool:
    mask = given["attn_mask"]
    if mask is None or isinstance(mask, torch._subclasses.FakeTensor):
        return mask is not None
    return bool((~_shown(mask)).all(-1).any())


@decomposes(torch.ops.aten.scaled_dot_product_attention.default, where=_may_hide_rows)
def masked_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    dropout_p: float,
    is_causal: bool,
    *others: Any,
) -> torch.Tensor:
    """Return the attention of ``query`` [..., L, E] to ``key`` [..., S, E] and ``value``, ``mask`` [..., L, S]."""
    scale, is_grouped = others
    lowest = torch.finfo(query.dtype).min
    shown = _shown(mask)
    numbers = torch.zeros_like(mask, dtype=query.dtype) if mask.dtype == torch.bool else mask
    bias = numbers.masked_fill(torch.logical_not(shown), lowest)
    result = functional.scaled_dot_product_attention(
        query, key, value, bias, dropout_p, is_causal, scale=scale, enable_gqa=is_grouped
    )
    return result * shown.any(-1, keepdim=True).to(result.dtype)


def _shown(mask: torch.Tensor) -> torch.Tensor:
    return mask if mask.dtype == torch.bool else mask > -torch.inf
