"""``edgeopt::hybrid_attention`` in ONNX: feature maps as operators, attention as the function ``HybridAttention``.

It stands in the domain ``edgeopt``; a native kernel may take its place.
"""

from __future__ import annotations

from typing import Any

from edgeopt.ops.linear_attention_onnx import map_features
from edgeopt.ops.scripting import Function, scripting


def build() -> Function:
    """Return the function of the operator's arguments that emits it."""
    attention = _function()

    def hybrid_attention(
        query: Any,
        key: Any,
        value: Any,
        gate: Any,
        feature_map: Any,
        window: Any,
        scale: Any,
        causal: Any = False,
        query_weight: Any = None,
        query_bias: Any = None,
        key_weight: Any = None,
        key_bias: Any = None,
    ) -> Any:
        phi_q = map_features(feature_map, query, query_weight, query_bias)
        phi_k = map_features(feature_map, key, key_weight, key_bias)
        return attention(query, key, value, phi_q, phi_k, gate, window=window, scale=scale, causal=int(causal))

    return hybrid_attention


def _function() -> Function:
    op, script = scripting()

    @script
    def HybridAttention(  # noqa: N802
        q: Any, k: Any, v: Any, phi_q: Any, phi_k: Any, gate: Any, window: int, scale: float, causal: int
    ) -> Any:
        zero = op.Constant(value_ints=[0])
        one = op.Constant(value_ints=[1])
        last = op.Constant(value_ints=[-1])
        # Everything in blocks [batch, heads, blocks, window, size], the last one filled up with zeros.
        width = op.Reshape(window, one)
        tokens = op.Shape(q, start=2, end=3)
        missing = op.Mod(op.Neg(tokens), width)
        blocks = op.Div(op.Add(tokens, missing), width)
        pads = op.Concat(zero, zero, zero, zero, zero, zero, missing, zero, axis=0)
        cut = op.Concat(zero, zero, blocks, width, axis=0)
        size = op.Shape(q, start=3, end=4)
        values = op.Shape(v, start=3, end=4)
        features = op.Shape(phi_q, start=3, end=4)
        scaled = op.Mul(q, op.CastLike(scale, q))
        q_blocks = op.Reshape(op.Pad(scaled, pads), op.Concat(cut, size, axis=0))
        k_blocks = op.Reshape(op.Pad(k, pads), op.Concat(cut, size, axis=0))
        v_blocks = op.Reshape(op.Pad(v, pads), op.Concat(cut, values, axis=0))
        phi_q_blocks = op.Reshape(op.Pad(phi_q, pads), op.Concat(cut, features, axis=0))
        phi_k_blocks = op.Reshape(op.Pad(phi_k, pads), op.Concat(cut, features, axis=0))
        # For each block the keys and values of the one before, its own and, if not causal, the one after.
        scalar = op.Constant(value_int=1)
        index = op.Range(op.Constant(value_int=0), op.Squeeze(blocks), scalar)
        row = op.Unsqueeze(index, one)
        beside = op.Range(op.Constant(value_int=-1), op.Sub(op.Constant(value_int=2), causal), scalar)
        around = op.Constant(value_ints=[0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
        chosen = op.Add(op.Add(row, beside), one)
        joined = op.Concat(zero, zero, blocks, last, axis=0)
        k_beside = op.Gather(op.Pad(k_blocks, around), chosen, axis=2)
        v_beside = op.Gather(op.Pad(v_blocks, around), chosen, axis=2)
        k_near = op.Reshape(k_beside, op.Concat(joined, size, axis=0))
        v_near = op.Reshape(v_beside, op.Concat(joined, values, axis=0))
        # Softmax over those that exist, the latest being the query's own if causal.
        within = op.Range(op.Constant(value_int=0), op.Squeeze(width), scalar)
        starts = op.Mul(op.Add(row, beside), width)
        positions = op.Add(op.Unsqueeze(starts, last), within)
        keys = op.Unsqueeze(op.Reshape(positions, op.Concat(blocks, last, axis=0)), one)
        queries = op.Unsqueeze(op.Add(op.Mul(row, width), within), last)
        ahead = op.Mul(op.Sub(scalar, causal), op.Mul(width, op.Constant(value_ints=[2])))
        exists = op.And(op.GreaterOrEqual(keys, zero), op.Less(keys, tokens))
        near = op.And(exists, op.LessOrEqual(keys, op.Add(queries, ahead)))
        products = op.MatMul(q_blocks, op.Transpose(k_near, perm=[0, 1, 2, 4, 3]))
        scores = op.Where(near, products, op.CastLike(-3e38, q))
        exponentials = op.Exp(op.Sub(scores, op.ReduceMax(scores, last, keepdims=1)))
        weights = op.Mul(op.Unsqueeze(op.Sigmoid(gate), last), exponentials)
        # Sums over the blocks that are not near.
        apart = op.Sub(row, index)
        horizon = op.Add(one, op.Mul(causal, blocks))
        far = op.CastLike(op.Or(op.Greater(apart, one), op.Greater(op.Neg(apart), horizon)), q)
        own = op.MatMul(op.Transpose(phi_k_blocks, perm=[0, 1, 2, 4, 3]), v_blocks)
        flat = op.Reshape(own, op.Concat(zero, zero, blocks, last, axis=0))
        rows = op.Concat(zero, zero, blocks, features, values, axis=0)
        far_product = op.Reshape(op.MatMul(far, flat), rows)
        total = op.ReduceSum(phi_k_blocks, op.Constant(value_ints=[3]), keepdims=0)
        far_total = op.Unsqueeze(op.MatMul(far, total), op.Constant(value_ints=[3]))
        above = op.Add(op.MatMul(weights, v_near), op.MatMul(phi_q_blocks, far_product))
        far_below = op.ReduceSum(op.Mul(phi_q_blocks, far_total), last, keepdims=1)
        below = op.Add(op.ReduceSum(weights, last, keepdims=1), far_below)
        out = op.Reshape(op.Div(above, below), op.Concat(zero, zero, last, values, axis=0))
        return op.Slice(out, zero, tokens, op.Constant(value_ints=[2]))

    return HybridAttention
