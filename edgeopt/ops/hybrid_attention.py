"""``edgeopt::hybrid_attention``: softmax attention to the tokens nearby, linear attention to all others.

    query, key [batch, heads, tokens, d], value [batch, heads, tokens, e]  ->  [batch, heads, tokens, e]

              sigmoid(g) sum_{j near i} exp(s_ij - max_{j near i} s_ij) v_j + sum_{j far} phi(q_i) . phi(k_j) v_j
    out_i  =  -------------------------------------------------------------------------------------------------
              sigmoid(g) sum_{j near i} exp(s_ij - max_{j near i} s_ij)     + sum_{j far} phi(q_i) . phi(k_j)

with s_ij = scale * q_i . k_j and one number g a head, ``gate`` [heads, 1, 1]. The window is a terrace: tokens stand
in blocks of ``window``, and near are a token's own block and those on both sides of it; in the causal form its own
block up to itself and the whole block before. So ``window`` tokens on either side are always near, and each pair of
tokens is weighed by one of the two kinds. The last block may be short.

``feature_map`` is one of ``edgeopt.ops.feature_maps``; ``query_weight`` to ``key_bias`` are the parameters of the
learned ones, [heads, d, f] and [heads, 1, f]. The maximum is the near scores' own: the level of the far weights
against them is learned, and merging both parts by their logarithms is another function.

Source: Zhang et al., LoLCATs: On Low-Rank Linearizing of Large Language Models, ICLR 2025, section 3.2; the
bidirectional form is its counterpart for encoders.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edgeopt.ops import feature_maps
from edgeopt.ops.feature_maps import feature_map as map_features
from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.recompute import register_gradients
from edgeopt.ops.scripting import Function

Tensors = tuple[torch.Tensor, ...]


# -- all tokens ----------------------------------------------------------------------------------------


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    gate: torch.Tensor,
    feature_map: str,
    window: int,
    scale: float,
    causal: bool = False,
    query_weight: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
    key_weight: torch.Tensor | None = None,
    key_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute what the operator does in torch's own operators."""
    tokens, size = value.shape[-2:]
    # The column of ones makes the denominator by the products that make the numerator.
    counted = functional.pad(value, (0, 1), value=1.0)
    operands = (
        query * scale,
        key,
        counted,
        map_features(feature_map, query, query_weight, query_bias),
        map_features(feature_map, key, key_weight, key_bias),
    )
    q, k, v, phi_q, phi_k = (_blocks(x, window) for x in operands)
    scores = (q @ _beside(k, causal).mT).masked_fill(~_near(q.shape[2], window, tokens, causal), -torch.inf)
    weights = gate.sigmoid().unsqueeze(-1) * (scores - scores.amax(-1, keepdim=True)).exp()
    sums = (phi_k.mT @ v).flatten(-2)
    far = (_far(q.shape[2], causal).to(v) @ sums).reshape(*v.shape[:3], phi_k.shape[-1], size + 1)
    both = (weights @ _beside(v, causal) + phi_q @ far).flatten(2, 3)[:, :, :tokens]
    return both[..., :size] / both[..., size:]


def _blocks(x: torch.Tensor, window: int) -> torch.Tensor:
    """Cut [.., tokens, size] into [.., blocks, window, size], filled up with zeros."""
    return torch.unflatten(functional.pad(x, (0, 0, 0, -x.shape[-2] % window)), -2, (-1, window))


def _beside(x: torch.Tensor, causal: bool) -> torch.Tensor:
    """Return for each block the tokens of the block before it, of itself and, if not causal, of the one after it."""
    blocks = x.shape[2]
    around = functional.pad(x, (0, 0, 0, 0, 1, 1))
    return torch.cat([around[:, :, first : first + blocks] for first in range(2 if causal else 3)], 3)


def _near(blocks: int, window: int, tokens: int, causal: bool) -> torch.Tensor:
    """Return which of the keys beside it each query sees, [blocks, window or 1, keys beside]."""
    first = torch.arange(blocks)[:, None, None] * window
    keys = first - window + torch.arange((2 if causal else 3) * window)
    inside = (keys >= 0) & (keys < tokens)
    return inside & (keys <= first + torch.arange(window)[:, None]) if causal else inside


def _far(blocks: int, causal: bool) -> torch.Tensor:
    """Return which blocks each block sees by linear attention, [blocks, blocks]."""
    ahead = torch.arange(blocks)[:, None] - torch.arange(blocks)
    return ahead > 1 if causal else ahead.abs() > 1


# -- one token at a time -------------------------------------------------------------------------------


def empty_state(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    feature_map: str,
    window: int,
    *parameters: torch.Tensor | None,
) -> Tensors:
    """Return the state before the first token: keys and values of two blocks; sums of features and values of what
    is far, of the block before and of the own one; the count. Operands are [batch, heads, 1, size] of any token."""
    features = map_features(feature_map, query, *parameters[:2])
    sums = features.mT @ functional.pad(torch.zeros_like(value), (0, 1))
    keys, values = (torch.zeros_like(x).repeat(1, 1, 2 * window, 1) for x in (key, value))
    return keys, values, sums, sums, sums, torch.zeros_like(query[..., :1])


def step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    state: Tensors,
    gate: torch.Tensor,
    feature_map: str,
    window: int,
    scale: float,
    *parameters: torch.Tensor | None,
) -> tuple[torch.Tensor, Tensors]:
    """Return the causal attention of the next token, [batch, heads, 1, size], and the state after it.

    Written in standard operators, so that a streaming model that calls it exports like any other.
    """
    keys, values, far, before, own, count = state
    place = count - window * (count / window).floor()
    begins = place == 0
    keys, values = (torch.where(begins, x.roll(-window, 2), x) for x in (keys, values))
    far, before, own = (torch.where(begins, *pair) for pair in ((far + before, far), (own, before), (0 * own, own)))
    slots = torch.arange(2 * window)[:, None]
    here = slots == window + place
    keys, values = torch.where(here, key, keys), torch.where(here, value, values)
    counted = functional.pad(value, (0, 1), value=1.0)
    own = own + map_features(feature_map, key, *parameters[2:]).mT @ counted
    # Slots hold the last tokens up to now; a first block has none before it.
    near = (slots <= window + place) & (slots >= window + place - count)
    scores = (scale * query @ keys.mT).masked_fill(~near.mT, -torch.inf)
    weights = gate.sigmoid() * (scores - scores.amax(-1, keepdim=True)).exp()
    both = weights @ functional.pad(values, (0, 1), value=1.0)
    both = both + map_features(feature_map, query, *parameters[:2]) @ far
    size = value.shape[-1]
    return both[..., :size] / both[..., size:], (keys, values, far, before, own, count + 1)


# -- the operator --------------------------------------------------------------------------------------

hybrid_attention = torch.library.custom_op("edgeopt::hybrid_attention", attend, mutates_args=())
HYBRID_ATTENTION = torch.ops.edgeopt.hybrid_attention.default

register_gradients(hybrid_attention, attend)


@hybrid_attention.register_fake
def _shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    gate: torch.Tensor,
    feature_map: str,
    window: int,
    scale: float,
    causal: bool = False,
    query_weight: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
    key_weight: torch.Tensor | None = None,
    key_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    maps = feature_maps.MAPS
    torch._check(feature_map in maps, lambda: f"feature map '{feature_map}' is none of {', '.join(sorted(maps))}")
    torch._check(query.dim() == key.dim() == value.dim() == 4, lambda: "query, key and value have four dimensions")
    torch._check(query.shape[:3] == key.shape[:3], lambda: f"queries {query.shape[:3]}, keys {key.shape[:3]}")
    heads = query.shape[1]
    torch._check(gate.shape == (heads, 1, 1), lambda: f"a gate of {gate.shape} for {heads} heads")
    torch._check(window > 0, lambda: f"a window of {window} tokens")
    learned = feature_map in feature_maps.LEARNED
    for weight in (query_weight, key_weight):
        torch._check((weight is not None) == learned, lambda: f"feature map '{feature_map}', weights {not learned}")
    return query.new_empty((*query.shape[:3], value.shape[-1]))


def _onnx() -> Function:
    from edgeopt.ops.hybrid_attention_onnx import build

    return build()


def _macs(a: Arguments) -> int:
    """Return maps, softmax attention to the blocks beside each, and sums over the others; all blocks are full."""
    images, (tokens, size), values = math.prod(a["query"][:2]), a["query"][2:], a["value"][3] + 1  # a column of ones
    window, (features, mapping) = a["window"], feature_maps.counted(a)
    blocks = -(-tokens // window)
    near = blocks * window * (2 if a["causal"] else 3) * window * (size + values)
    far = (2 * blocks * window + blocks**2) * features * values
    return int(images * (2 * tokens * size * mapping + near + far))


register(Operator("edgeopt::hybrid_attention", onnx=_onnx, reference=attend, macs=_macs))
