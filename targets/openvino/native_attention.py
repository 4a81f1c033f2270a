"""``edgeopt::linear_attention`` and ``hybrid_attention`` as nodes that OpenVINO runs by kernels of ours.

Each stands for the whole operator and for the transposes beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeopt.ops import linear_attention
from edgeopt.ops.feature_maps import MAPS
from edgeopt.ops.operator import onnx_functions
from edgeopt.targets.openvino.native_node import drop_unused, emitter, nodes, only_consumer, producer

if TYPE_CHECKING:
    import onnx_ir as ir


_STRINGS = dict.fromkeys(("feature_map", "roles", "tokens_first"), "STRING")
_WEIGHTS = ("query_weight", "query_bias", "key_weight", "key_bias")
_LINEAR_ROLES = ("query", "key", "value", *_WEIGHTS, "depthwise", "depthwise_bias")
_HYBRID_ROLES = ("query", "key", "value", "gate", *_WEIGHTS)


def linear() -> Callable[..., Any]:
    """Return the function of ``edgeopt::linear_attention``'s arguments that emits its node."""
    inlined = onnx_functions()["edgeopt::linear_attention"]()
    emit = emitter("LinearAttention", **_STRINGS, grid="INTS", causal="INT", epsilon="FLOAT")

    def linear_attention_node(
        query: Any,
        key: Any,
        value: Any,
        feature_map: str,
        causal: bool = False,
        query_weight: Any = None,
        query_bias: Any = None,
        key_weight: Any = None,
        key_bias: Any = None,
        depthwise: Any = None,
        depthwise_bias: Any = None,
        grid: Sequence[int] | None = None,
    ) -> Any:
        weights = (query_weight, query_bias, key_weight, key_bias, depthwise, depthwise_bias)
        if feature_map not in MAPS:
            return inlined(query, key, value, feature_map, causal, *weights, grid)
        operands, given = _present(_LINEAR_ROLES, (query, key, value, *weights), feature_map)
        epsilon = linear_attention.epsilon(feature_map)
        return emit(*operands, **given, grid=list(grid or ()), causal=int(causal), epsilon=epsilon)

    return linear_attention_node


def hybrid() -> Callable[..., Any]:
    """Return the function of ``edgeopt::hybrid_attention``'s arguments that emits its node."""
    emit = emitter("HybridAttention", **_STRINGS, window="INT", causal="INT", scale="FLOAT")

    def hybrid_attention_node(
        query: Any,
        key: Any,
        value: Any,
        gate: Any,
        feature_map: str,
        window: int,
        scale: float,
        causal: bool = False,
        query_weight: Any = None,
        query_bias: Any = None,
        key_weight: Any = None,
        key_bias: Any = None,
    ) -> Any:
        all_operands = (query, key, value, gate, query_weight, query_bias, key_weight, key_bias)
        operands, given = _present(_HYBRID_ROLES, all_operands, feature_map)
        return emit(*operands, **given, window=window, causal=int(causal), scale=scale)

    return hybrid_attention_node


def _present(roles: Sequence[str], operands: Sequence[Any], feature_map: str) -> tuple[list[Any], dict[str, str]]:
    """Return the operands that are there, and the attributes that name them."""
    present = {role: operand for role, operand in zip(roles, operands, strict=True) if operand is not None}
    return [*present.values()], {"feature_map": feature_map, "roles": ",".join(present), "tokens_first": ""}


def absorb_transposes(model: ir.Model) -> None:
    """Let attentions read and write [batch, tokens, heads, channels], as linear layers do, where they transpose."""
    import onnx_ir as ir

    for node in (*nodes(model, "LinearAttention"), *nodes(model, "HybridAttention")):
        first = [role for index, role in enumerate(("query", "key", "value")) if _absorb_before(node, index)]
        if _absorb_after(node):
            first.append("out")
        node.attributes["tokens_first"] = ir.AttrString("tokens_first", ",".join(first))
    drop_unused(model)


_SWAPS_HEADS_AND_TOKENS = (0, 2, 1, 3)


def _absorb_before(node: ir.Node, index: int) -> bool:
    transpose = producer(node, index)
    if transpose is None or not _swaps(transpose):
        return False
    node.replace_input_with(index, transpose.inputs[0])
    return True


def _absorb_after(node: ir.Node) -> bool:
    import onnx_ir as ir

    out = node.outputs[0]
    transpose = only_consumer(out)
    if transpose is None or not _swaps(transpose):
        return False
    swapped = transpose.outputs[0]
    if swapped.is_graph_output():
        return False
    out.shape = swapped.shape
    ir.convenience.replace_all_uses_with(swapped, out)
    return True


def _swaps(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == _SWAPS_HEADS_AND_TOKENS
