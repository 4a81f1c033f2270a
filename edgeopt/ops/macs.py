"""Multiply-accumulates of our own operators: the products of matrices and the convolutions that define each.

Each function takes the operator's arguments by name, tensors as their shapes. Causal linear attention is counted as it
is defined, with the product of queries and keys; its step form costs the same for each token, however many went before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edgeopt.ops.agent_attention import AGENT_ATTENTION
from edgeopt.ops.binary_conv2d import BINARY_CONV2D
from edgeopt.ops.binary_linear import BINARY_LINEAR
from edgeopt.ops.binary_matmul import BINARY_MATMUL
from edgeopt.ops.feature_maps import feature_count
from edgeopt.ops.hashed_attention import HASHED_ATTENTION
from edgeopt.ops.hybrid_attention import HYBRID_ATTENTION
from edgeopt.ops.linear_attention import LINEAR_ATTENTION
from edgeopt.ops.soft_attention import SOFT_ATTENTION
from edgeopt.ops.token_linear import TOKEN_LINEAR

Arguments = dict[str, Any]


def _linear_attention(a: Arguments) -> int:
    """Return maps, K^T V and its product with Q, and the convolution of the values."""
    images, tokens, size = math.prod(a["query"][:2]), a["query"][2], a["query"][3]
    keys, values = a["value"][2:]
    features, mapping = _features(a)
    through = tokens * keys * (features + values) if a["causal"] else (tokens + keys) * features * values
    local = 0 if a["depthwise"] is None else math.prod(a["grid"]) * math.prod(a["depthwise"])
    return images * ((tokens + keys) * size * mapping + through + local)


def _hybrid_attention(a: Arguments) -> int:
    """Return maps, softmax attention to the blocks beside each, and sums over the others; all blocks are full."""
    images, (tokens, size), values = math.prod(a["query"][:2]), a["query"][2:], a["value"][3] + 1  # a column of ones
    window, (features, mapping) = a["window"], _features(a)
    blocks = -(-tokens // window)
    near = blocks * window * (2 if a["causal"] else 3) * window * (size + values)
    far = (2 * blocks * window + blocks**2) * features * values
    return images * (2 * tokens * size * mapping + near + far)


def _agent_attention(a: Arguments) -> int:
    """Return what agents are averaged by, and both products of both attentions."""
    images, (tokens, size), (keys, values) = math.prod(a["query"][:2]), a["query"][2:], a["value"][2:]
    return images * math.prod(a["agents"]) * (tokens * size + (keys + tokens) * (size + values))


def _soft_attention(a: Arguments) -> int:
    """Return both kernels, Newton's steps, and the products with the values."""
    images, (tokens, size), values = math.prod(a["query"][:2]), a["query"][2:], a["value"][3]
    marks = a["landmarks"][2]
    inverse = 2 * a["iterations"] * marks**3
    return images * (marks * (tokens + marks) * (size + values) + marks * tokens * values + inverse)


def _hashed_attention(a: Arguments) -> int:
    """Return distances to the anchors and planes of both, K^T V and its product with Q; codes by codes are one more."""
    images, (tokens, size), (keys, values) = math.prod(a["query"][:2]), a["query"][2:], a["value"][2:]
    bits, points = a["planes"][1:]
    return images * ((tokens + keys) * points * (size + bits) + (tokens + keys) * bits * values + tokens * bits)


def _binary_matmul(a: Arguments) -> int:
    return math.prod(a["result"]) * a["a"][-1]


def _features(a: Arguments) -> tuple[int, int]:
    """Return how many features a token has, and how many columns of matrices make them."""
    columns = a["query_weight"][-1] if a["query_weight"] is not None else 0
    return feature_count(a["feature_map"], a["query"][3], columns), columns


def _linear(a: Arguments) -> int:
    return math.prod(a["x"]) * a["weight"][0]


def _binary_conv2d(a: Arguments) -> int:
    return math.prod(a["result"]) * math.prod(a["weight"][1:3]) * a["x"][1]


OWN: dict[object, Callable[[Arguments], int]] = {
    LINEAR_ATTENTION: _linear_attention,
    HYBRID_ATTENTION: _hybrid_attention,
    AGENT_ATTENTION: _agent_attention,
    SOFT_ATTENTION: _soft_attention,
    HASHED_ATTENTION: _hashed_attention,
    BINARY_LINEAR: _linear,
    BINARY_MATMUL: _binary_matmul,
    BINARY_CONV2D: _binary_conv2d,
    TOKEN_LINEAR: _linear,
}
"""By operator; ``result`` among the arguments is the shape of what it returns."""
