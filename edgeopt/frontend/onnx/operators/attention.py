"""Attention of opset 23, and positions by rotation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeopt.frontend.onnx.call import Call, translates


@translates("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Any:
    """Of heads in an axis of their own, or side by side in the last one."""
    if call.get("softcap", 0.0) or lengths is not None or call.outputs > 3:
        raise call.refused("has a soft cap, lengths, or returns its scores")
    is_flat = q.dim() == 3
    if is_flat:
        heads, kv_heads = call.get("q_num_heads"), call.get("kv_num_heads")
        q, k, v = (_heads(x, count) for x, count in ((q, heads), (k, kv_heads), (v, kv_heads)))
    if past_k is not None and past_v is not None:
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    present = (k, v)
    if (groups := q.shape[1] // k.shape[1]) > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    causal = bool(call.get("is_causal", 0))
    if causal and (mask is not None or past_k is not None):
        raise call.refused("is causal and masked")
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=call.get("scale"))
    if is_flat:
        y = y.transpose(1, 2).flatten(2)
    return (y, *present) if call.outputs > 1 else y


def _heads(x: Tensor, count: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], count, x.shape[2] // count).transpose(1, 2)


@translates("RotaryEmbedding")
def rotary(call: Call, x: Tensor, cosines: Tensor, sines: Tensor, places: Tensor | None = None) -> Tensor:
    """Turn pairs of elements by angles: halves of the last axis, or neighbors."""
    shape = x.shape
    if x.dim() == 3:
        x = _heads(x, call.get("num_heads"))
    size = call.get("rotary_embedding_dim", 0) or x.shape[-1]
    if places is not None:
        cosines, sines = F.embedding(places, cosines), F.embedding(places, sines)
    cosines, sines = (table.unsqueeze(1)[..., : size // 2] for table in (cosines, sines))
    turned, rest = x[..., :size], x[..., size:]
    interleaved = bool(call.get("interleaved", 0))
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    parts = (cosines * a - sines * b, sines * a + cosines * b)
    y = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    y = torch.cat([y, rest], -1) if size < x.shape[-1] else y
    return y.transpose(1, 2).reshape(shape) if len(shape) == 3 else y
