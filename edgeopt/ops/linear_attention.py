"""``edgeopt::linear_attention``: attention in time and memory linear in the tokens, one operator for all kinds.

    query, key [batch, heads, tokens, d], value [batch, heads, tokens, e]  ->  [batch, heads, queries, e]

``feature_map`` names the kind: a map of ``edgeopt.ops.feature_maps`` for normalized attention, ``inline`` or
``flow`` (see ``edgeopt.ops.linear_attention_forms``). ``query_weight`` to ``key_bias`` are the parameters of the
learned maps, [heads, d, f] and [heads, 1, f]; None for all others. Of the bidirectional forms keys and queries may
differ in number; of the causal ones they are the same tokens.

``depthwise`` [e, 1, k, k] and ``depthwise_bias`` [e] add a convolution of the values, seen as images of
``grid`` = (height, width), one filter a channel and the same for all heads; tokens before the grid, such as a class
token, get none. With ``relu`` that is SLA (Guo et al., SLAB, ICML 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from edgeopt.ops import feature_maps, linear_attention_forms
from edgeopt.ops.feature_maps import feature_map as map_features
from edgeopt.ops.linear_attention_forms import Tensors
from edgeopt.ops.operator import Arguments, Operator, register
from edgeopt.ops.recompute import register_gradients
from edgeopt.ops.scripting import Function

KINDS = feature_maps.MAPS | {"inline", "flow"}
"""What ``feature_map`` may be."""

_EPSILONS = {"relu": 1e-6, "elu": 1e-6}
"""What the denominator is kept away from zero by; the other maps do not come near it."""


@torch.library.custom_op("edgeopt::linear_attention", mutates_args=())
def linear_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    feature_map: str,
    causal: bool = False,
    query_weight: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
    key_weight: torch.Tensor | None = None,
    key_bias: torch.Tensor | None = None,
    depthwise: torch.Tensor | None = None,
    depthwise_bias: torch.Tensor | None = None,
    grid: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the attention's output; see the module."""
    learned = (query_weight, query_bias, key_weight, key_bias)
    return attend(query, key, value, feature_map, causal, *learned, depthwise, depthwise_bias, grid)


LINEAR_ATTENTION = torch.ops.edgeopt.linear_attention.default


def epsilon(feature_map: str) -> float:
    """Return what is added to the denominator under a map of normalized attention."""
    return _EPSILONS.get(feature_map, 0.0)


def empty_state(
    query: torch.Tensor, value: torch.Tensor, feature_map: str, *parameters: torch.Tensor | None
) -> Tensors:
    """Return the state before the first token; ``query`` and ``value`` are [batch, heads, 1, size] of any token."""
    if feature_map not in feature_maps.MAPS:
        return linear_attention_forms.empty_state(feature_map, query, value)
    features = map_features(feature_map, query, *parameters[:2])
    return linear_attention_forms.empty_state("normalized", features, value)


def step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    state: Tensors,
    feature_map: str,
    *parameters: torch.Tensor | None,
) -> tuple[torch.Tensor, Tensors]:
    """Return the causal attention of the next token, [batch, heads, 1, size], and the state after it.

    Written in standard operators, so that a streaming model that calls it exports like any other. ``parameters``
    are ``query_weight`` to ``key_bias`` of a learned map.
    """
    if feature_map in feature_maps.MAPS:
        q = map_features(feature_map, query, *parameters[:2])
        k = map_features(feature_map, key, *parameters[2:])
        out, *after = linear_attention_forms.step_normalized(q, k, value, state, epsilon(feature_map))
    else:
        out, *after = getattr(linear_attention_forms, f"step_{feature_map}")(query, key, value, state)
    return out, tuple(after)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    feature_map: str,
    causal: bool = False,
    query_weight: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
    key_weight: torch.Tensor | None = None,
    key_bias: torch.Tensor | None = None,
    depthwise: torch.Tensor | None = None,
    depthwise_bias: torch.Tensor | None = None,
    grid: Sequence[int] | None = None,
) -> torch.Tensor:
    """Compute what the operator does in torch's own operators; arguments are the operator's."""
    form = "causal_" if causal else ""
    if feature_map in feature_maps.MAPS:
        q = map_features(feature_map, query, query_weight, query_bias)
        k = map_features(feature_map, key, key_weight, key_bias)
        normalized = getattr(linear_attention_forms, f"{form}normalized")
        out: torch.Tensor = normalized(q, k, value, epsilon(feature_map))
    else:
        out = getattr(linear_attention_forms, f"{form}{feature_map}")(query, key, value)
    return out if depthwise is None else out + _depthwise(value, depthwise, depthwise_bias, grid or ())


def _depthwise(
    value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, grid: Sequence[int]
) -> torch.Tensor:
    """Return the convolution of the values on their grid, zero for the tokens before it."""
    batch, heads, tokens, size = value.shape
    first = tokens - math.prod(grid)
    # Heads are channels, not images: compilers for one sample at a time know no batch.
    images = value[:, :, first:].mT.reshape(batch, heads * size, *grid)
    filters, shift = weight.repeat(heads, 1, 1, 1), None if bias is None else bias.repeat(heads)
    local = functional.conv2d(images, filters, shift, padding=weight.shape[-1] // 2, groups=heads * size)
    return functional.pad(local.reshape(batch, heads, size, -1).mT, (0, 0, first, 0))


@linear_attention.register_fake
def _shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    feature_map: str,
    causal: bool = False,
    query_weight: torch.Tensor | None = None,
    query_bias: torch.Tensor | None = None,
    key_weight: torch.Tensor | None = None,
    key_bias: torch.Tensor | None = None,
    depthwise: torch.Tensor | None = None,
    depthwise_bias: torch.Tensor | None = None,
    grid: Sequence[int] | None = None,
) -> torch.Tensor:
    torch._check(feature_map in KINDS, lambda: f"feature map '{feature_map}' is none of {', '.join(sorted(KINDS))}")
    torch._check(query.dim() == key.dim() == value.dim() == 4, lambda: "query, key and value have four dimensions")
    torch._check(key.shape[1] == query.shape[1], lambda: f"{query.shape[1]} heads of queries, {key.shape[1]} of keys")
    learned = feature_map in feature_maps.LEARNED
    torch._check((query_weight is not None) == learned, lambda: f"feature map '{feature_map}', weights {not learned}")
    torch._check((key_weight is not None) == learned, lambda: f"feature map '{feature_map}', weights {not learned}")
    if causal:
        torch._check(query.shape[2] == key.shape[2], lambda: "a causal form has a key for each query")
        torch._check(depthwise is None, lambda: "the depthwise branch looks at later tokens: not in a causal form")
    if depthwise is not None:
        cells = tuple(grid or ())
        torch._check(len(cells) == 2, lambda: f"the depthwise branch needs a grid of height and width, not {cells}")
        torch._check(math.prod(cells) <= value.shape[2], lambda: f"a grid of {cells} for {value.shape[2]} tokens")
    return torch.empty_like(query[..., :1].expand(*query.shape[:-1], value.shape[-1]), dtype=query.dtype).contiguous()


register_gradients(linear_attention, attend)


def _onnx() -> Function:
    from edgeopt.ops.linear_attention_onnx import build

    return build(epsilon)


def _macs(a: Arguments) -> int:
    """Return maps, K^T V and its product with Q, and the convolution of the values.

    The causal forms are counted as they are defined, with the product of queries and keys; the step form costs the same
    for each token, however many went before.
    """
    images, tokens, size = math.prod(a["query"][:2]), a["query"][2], a["query"][3]
    keys, values = a["value"][2:]
    features, mapping = feature_maps.counted(a)
    through = tokens * keys * (features + values) if a["causal"] else (tokens + keys) * features * values
    local = 0 if a["depthwise"] is None else math.prod(a["grid"]) * math.prod(a["depthwise"])
    return int(images * ((tokens + keys) * size * mapping + through + local))


register(Operator("edgeopt::linear_attention", onnx=_onnx, reference=attend, macs=_macs))
