"""``edgeopt::linear_attention`` and ``hybrid_attention`` as nodes that OpenVINO runs by kernels of ours.

Each stands for the whole operator and for the transposes beside it.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeopt.ops import linear_attention
from edgeopt.ops.feature_maps import MAPS
from edgeopt.ops.operator import onnx_functions
from edgeopt.targets.openvino.native_node import drop_unused, emitter, nodes, only_consumer, producer

if TYPE_CHECKING:
    import onnx_ir as ir


def linear() -> Callable:
    """Return the function of ``edgeopt::linear_attention``'s arguments that emits its node."""
    inlined = onnx_functions()["edgeopt::linear_attention"]()
    emit = emitter(
        "LinearAttention",
        feature_map="STRING",
        roles="STRING",
        tokens_first="STRING",
        grid="INTS",
        causal="INT",
        epsilon="FLOAT",
    )

    def linear_attention_node(
        query,
        key,
        value,
        feature_map,
        causal=False,
        query_weight=None,
        query_bias=None,
        key_weight=None,
        key_bias=None,
        depthwise=None,
        depthwise_bias=None,
        grid=None,
    ):
        operands = {
            "query": query,
            "key": key,
            "value": value,
            "query_weight": query_weight,
            "query_bias": query_bias,
            "key_weight": key_weight,
            "key_bias": key_bias,
            "depthwise": depthwise,
            "depthwise_bias": depthwise_bias,
        }
        if feature_map not in MAPS:
            return inlined(query, key, value, feature_map, causal, *list(operands.values())[3:], grid)
        present = {role: operand for role, operand in operands.items() if operand is not None}
        return emit(
            *present.values(),
            feature_map=feature_map,
            roles=",".join(present),
            tokens_first="",
            grid=list(grid or ()),
            causal=int(causal),
            epsilon=linear_attention.epsilon(feature_map),
        )

    return linear_attention_node


def hybrid() -> Callable:
    """Return the function of ``edgeopt::hybrid_attention``'s arguments that emits its node."""
    emit = emitter(
        "HybridAttention",
        feature_map="STRING",
        roles="STRING",
        tokens_first="STRING",
        window="INT",
        causal="INT",
        scale="FLOAT",
    )

    def hybrid_attention_node(
        query,
        key,
        value,
        gate,
        feature_map,
        window,
        scale,
        causal=False,
        query_weight=None,
        query_bias=None,
        key_weight=None,
        key_bias=None,
    ):
        operands = {
            "query": query,
            "key": key,
            "value": value,
            "gate": gate,
            "query_weight": query_weight,
            "query_bias": query_bias,
            "key_weight": key_weight,
            "key_bias": key_bias,
        }
        present = {role: operand for role, operand in operands.items() if operand is not None}
        return emit(
            *present.values(),
            feature_map=feature_map,
            roles=",".join(present),
            tokens_first="",
            window=window,
            causal=int(causal),
            scale=scale,
        )

    return hybrid_attention_node


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
