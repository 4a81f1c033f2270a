"""``edgeopt::linear_attention`` in ONNX: feature maps and convolution as operators, attention as a function.

The functions are ``LinearAttention``, ``InlineAttention``, ``FlowAttention`` and their ``Causal`` forms, in the
domain ``edgeopt``; a native kernel may take the place of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from edgeopt.ops.feature_maps import LEARNED, MAPS, pairs
from edgeopt.ops.scripting import Function, scripting


def build(epsilon: Callable[[str], float]) -> Function:
    """Return the function of the operator's arguments that emits it; ``epsilon`` is the denominator's, by map."""
    forms = {
        False: {"normalized": _linear(), "inline": _inline(), "flow": _flow()},
        True: {"normalized": _causal_linear(), "inline": _causal_inline(), "flow": _causal_flow()},
    }

    def linear_attention(
        query: Any,
        key: Any,
        value: Any,
        feature_map: Any,
        causal: Any = False,
        query_weight: Any = None,
        query_bias: Any = None,
        key_weight: Any = None,
        key_bias: Any = None,
        depthwise: Any = None,
        depthwise_bias: Any = None,
        grid: Any = None,
    ) -> Any:
        if feature_map in MAPS:
            q = map_features(feature_map, query, query_weight, query_bias)
            k = map_features(feature_map, key, key_weight, key_bias)
            out = forms[causal]["normalized"](q, k, value, epsilon=epsilon(feature_map))
        else:
            out = forms[causal][feature_map](query, key, value)
        return out if depthwise is None else _with_convolution(out, value, depthwise, depthwise_bias, grid)

    return linear_attention


def map_features(name: str, x: Any, weight: Any, bias: Any) -> Any:
    """Emit the feature map ``name`` of ``edgeopt.ops.feature_maps``."""
    op, _ = scripting()

    if name in LEARNED:
        z = op.MatMul(x, weight)
        return _hedgehog(name, z if bias is None else op.Add(z, bias))
    if name == "relu":
        return op.Relu(x)
    if name == "elu":
        return op.Add(op.Elu(x), op.CastLike(1.0, x))
    return _taylor(x)


def _taylor(x: Any) -> Any:
    op, _ = scripting()

    size = x.shape[-1]
    first, second = (op.Constant(value_ints=index.tolist()) for index in pairs(size))
    products = op.Mul(op.Gather(x, first, axis=-1), op.Gather(x, second, axis=-1))
    terms = {size**-0.25: x, size**-0.5: products, (2 * size) ** -0.5: op.Mul(x, x)}
    scaled = [op.Mul(term, op.CastLike(factor, x)) for factor, term in terms.items()]
    head = op.Gather(x, op.Constant(value_ints=[0]), axis=-1)
    one = op.Add(op.Mul(head, op.CastLike(0.0, x)), op.CastLike(1.0, x))
    return op.Concat(one, *scaled, axis=-1)


def _hedgehog(name: str, z: Any) -> Any:
    op, _ = scripting()

    if name == "hedgehog-exp":
        return op.Exp(op.Concat(z, op.Neg(z), axis=-1))
    if name == "hedgehog-split-softmax":
        both = op.Concat(op.Softmax(z, axis=-1), op.Softmax(op.Neg(z), axis=-1), axis=-1)
        return op.Max(both, op.CastLike(1e-12, z))
    double = op.Mul(z, op.CastLike(2.0, z))
    return op.Softmax(op.Concat(double, op.Neg(double), axis=-1), axis=-1)


def _with_convolution(out: Any, value: Any, weight: Any, bias: Any, grid: Sequence[int]) -> Any:
    op, _ = scripting()

    size, tokens, kernel = value.shape[-1], value.shape[-2], weight.shape[-1]
    first = tokens - math.prod(grid)
    axis = op.Constant(value_ints=[2])
    patches = op.Slice(value, op.Constant(value_ints=[first]), op.Constant(value_ints=[tokens]), axis)
    images = op.Reshape(op.Transpose(patches, perm=[0, 1, 3, 2]), op.Constant(value_ints=[-1, size, *grid]))
    operands = (images, weight) if bias is None else (images, weight, bias)
    local = op.Conv(*operands, pads=[kernel // 2] * 4, group=size, kernel_shape=[kernel, kernel])
    flat = op.Reshape(local, op.Constant(value_ints=[-1, value.shape[1], size, tokens - first]))
    rows = op.Pad(op.Transpose(flat, perm=[0, 1, 3, 2]), op.Constant(value_ints=[0, 0, first, 0, 0, 0, 0, 0]))
    return op.Add(out, rows)


# -- attention as functions ----------------------------------------------------------------------------


def _linear() -> Function:
    op, script = scripting()

    @script
    def LinearAttention(q: Any, k: Any, v: Any, epsilon: float) -> Any:  # noqa: N802
        tokens = op.Constant(value_ints=[2])
        last = op.Constant(value_ints=[3])
        product = op.MatMul(op.Transpose(k, perm=[0, 1, 3, 2]), v)
        total = op.ReduceSum(k, tokens, keepdims=1)
        below = op.ReduceSum(op.Mul(q, total), last, keepdims=1)
        return op.Div(op.MatMul(q, product), op.Add(below, op.CastLike(epsilon, below)))

    return LinearAttention


def _inline() -> Function:
    op, script = scripting()

    @script
    def InlineAttention(q: Any, k: Any, v: Any) -> Any:  # noqa: N802
        tokens = op.Constant(value_ints=[2])
        last = op.Constant(value_ints=[3])
        count = op.CastLike(op.Shape(k, start=2, end=3), q)
        scale = op.Div(op.Reciprocal(op.Sqrt(op.CastLike(op.Shape(q, start=3, end=4), q))), count)
        root = op.Sqrt(scale)
        product = op.MatMul(op.Mul(op.Transpose(k, perm=[0, 1, 3, 2]), root), op.Mul(v, root))
        read = op.ReduceSum(op.Mul(q, op.ReduceSum(k, tokens, keepdims=1)), last, keepdims=1)
        rest = op.Sub(op.CastLike(1.0, q), op.Mul(scale, read))
        return op.Add(op.MatMul(q, product), op.Mul(rest, op.ReduceMean(v, tokens, keepdims=1)))

    return InlineAttention


def _flow() -> Function:
    op, script = scripting()

    @script
    def FlowAttention(query: Any, key: Any, v: Any) -> Any:  # noqa: N802
        tokens = op.Constant(value_ints=[2])
        last = op.Constant(value_ints=[3])
        q = op.Sigmoid(query)
        k = op.Sigmoid(key)
        small = op.CastLike(1e-6, q)
        q_up = op.Add(q, small)
        k_up = op.Add(k, small)
        queries = op.CastLike(op.Shape(q, start=2, end=3), q)
        keys = op.CastLike(op.Shape(k, start=2, end=3), q)
        all_k = op.Add(op.ReduceSum(k, tokens, keepdims=1), small)
        all_q = op.Add(op.ReduceSum(q, tokens, keepdims=1), small)
        incoming = op.Reciprocal(op.ReduceSum(op.Mul(q_up, all_k), last, keepdims=1))
        outgoing = op.Reciprocal(op.ReduceSum(op.Mul(k_up, all_q), last, keepdims=1))
        given = op.Add(op.ReduceSum(op.Mul(k, outgoing), tokens, keepdims=1), small)
        taken = op.Add(op.ReduceSum(op.Mul(q, incoming), tokens, keepdims=1), small)
        sink = op.ReduceSum(op.Mul(q_up, given), last, keepdims=1)
        source = op.ReduceSum(op.Mul(k_up, taken), last, keepdims=1)
        one = op.CastLike(1.0, q)
        competition = op.Mul(op.Softmax(op.Clip(source, op.Neg(one), one), axis=2), keys)
        allocation = op.Sigmoid(op.Mul(sink, op.Div(queries, keys)))
        product = op.MatMul(op.Transpose(k, perm=[0, 1, 3, 2]), op.Mul(v, competition))
        return op.Mul(allocation, op.MatMul(op.Mul(q, incoming), product))

    return FlowAttention


def _causal_linear() -> Function:
    op, script = scripting()

    @script
    def CausalLinearAttention(q: Any, k: Any, v: Any, epsilon: float) -> Any:  # noqa: N802
        last = op.Constant(value_ints=[3])
        weights = op.Trilu(op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2])), upper=0)
        below = op.ReduceSum(weights, last, keepdims=1)
        return op.Div(op.MatMul(weights, v), op.Add(below, op.CastLike(epsilon, below)))

    return CausalLinearAttention


def _causal_inline() -> Function:
    op, script = scripting()

    @script
    def CausalInlineAttention(q: Any, k: Any, v: Any) -> Any:  # noqa: N802
        tokens = op.Constant(value_int=2)
        last = op.Constant(value_ints=[3])
        one = op.CastLike(1.0, q)
        ones = op.Add(op.Mul(op.ReduceSum(q, last, keepdims=1), op.CastLike(0.0, q)), one)
        count = op.CumSum(ones, tokens)
        root = op.Sqrt(op.CastLike(op.Shape(q, start=3, end=4), q))
        products = op.Trilu(op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2])), upper=0)
        weights = op.Div(products, op.Mul(count, root))
        rest = op.Sub(one, op.ReduceSum(weights, last, keepdims=1))
        mean = op.Div(op.CumSum(v, tokens), count)
        return op.Add(op.MatMul(weights, v), op.Mul(rest, mean))

    return CausalInlineAttention


def _causal_flow() -> Function:
    op, script = scripting()

    @script
    def CausalFlowAttention(query: Any, key: Any, v: Any) -> Any:  # noqa: N802
        tokens = op.Constant(value_int=2)
        last = op.Constant(value_ints=[3])
        q = op.Sigmoid(query)
        k = op.Sigmoid(key)
        small = op.CastLike(1e-6, q)
        one = op.CastLike(1.0, q)
        q_up = op.Add(q, small)
        k_up = op.Add(k, small)
        ones = op.Add(op.Mul(op.ReduceSum(q, last, keepdims=1), op.CastLike(0.0, q)), one)
        count = op.CumSum(ones, tokens)
        all_k = op.Add(op.CumSum(k, tokens), small)
        all_q = op.Add(op.CumSum(q, tokens), small)
        incoming = op.Div(count, op.ReduceSum(op.Mul(q_up, all_k), last, keepdims=1))
        outgoing = op.Div(count, op.ReduceSum(op.Mul(k_up, all_q), last, keepdims=1))
        given = op.Add(op.CumSum(op.Mul(k, outgoing), tokens), small)
        taken = op.Add(op.CumSum(op.Mul(q, incoming), tokens), small)
        sink = op.Div(op.ReduceSum(op.Mul(q_up, given), last, keepdims=1), count)
        source = op.Div(op.ReduceSum(op.Mul(k_up, taken), last, keepdims=1), count)
        exponential = op.Exp(op.Clip(source, op.Neg(one), one))
        competition = op.Mul(op.Div(exponential, op.CumSum(exponential, tokens)), count)
        sinks = op.Mul(q, op.Div(incoming, count))
        weights = op.Trilu(op.MatMul(sinks, op.Transpose(k, perm=[0, 1, 3, 2])), upper=0)
        return op.Mul(op.Sigmoid(sink), op.MatMul(weights, op.Mul(v, competition)))

    return CausalFlowAttention
