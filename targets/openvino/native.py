"""The operators of ours that OpenVINO runs by kernels of ours, and their nodes in the ONNX that it reads.

Each is one node of the domain ``edgeopt`` without a body, which the extension's front end takes over. What a kernel
does not cover is left to the operator's own ONNX function.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeopt.onnx import DOMAIN, Functions
from edgeopt.ops import linear_attention, onnx_functions
from edgeopt.ops.feature_maps import MAPS
from edgeopt.program import Program

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import fx

FUNCTIONS: Functions = {"edgeopt::linear_attention": lambda: _linear_attention()}
"""What the operators with kernels are in the ONNX that OpenVINO reads."""


def find(program: Program) -> list[fx.Node]:
    """Return the nodes of a program that a kernel of ours covers."""
    return [node for node in program.calls if node.target is linear_attention.LINEAR_ATTENTION and node.args[3] in MAPS]


def _linear_attention() -> Callable:
    inlined = onnx_functions["edgeopt::linear_attention"]()
    emit = _operator(
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


def absorb_transposes(model: ir.Model) -> None:
    """Let attentions read and write [batch, tokens, heads, channels], as linear layers do, where they transpose."""
    import onnx_ir as ir

    for node in [n for n in model.graph.all_nodes() if (n.domain, n.op_type) == (DOMAIN, "LinearAttention")]:
        first = [role for index, role in enumerate(("query", "key", "value")) if _absorb_before(node, index)]
        if _absorb_after(node):
            first.append("out")
        node.attributes["tokens_first"] = ir.AttrString("tokens_first", ",".join(first))


_SWAPS_HEADS_AND_TOKENS = (0, 2, 1, 3)


def _absorb_before(node: ir.Node, index: int) -> bool:
    transpose = node.inputs[index].producer()
    if transpose is None or not _swaps(transpose):
        return False
    node.replace_input_with(index, transpose.inputs[0])
    _drop_unused(transpose)
    return True


def _absorb_after(node: ir.Node) -> bool:
    import onnx_ir as ir

    out = node.outputs[0]
    consumers = list(out.consumers())
    if out.is_graph_output() or len(consumers) != 1 or not _swaps(consumers[0]):
        return False
    swapped = consumers[0].outputs[0]
    if swapped.is_graph_output():
        return False
    out.shape = swapped.shape
    ir.convenience.replace_all_uses_with(swapped, out)
    _drop_unused(consumers[0])
    return True


def _swaps(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == _SWAPS_HEADS_AND_TOKENS


def _drop_unused(node: ir.Node) -> None:
    if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
        node.graph.remove(node, safe=True)


def _operator(name: str, **attributes: str) -> Callable[..., Any]:
    """Return what emits a node of ``DOMAIN`` with float operands, one float result and attributes of these types."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    schema = OpSchema(
        name,
        DOMAIN,
        1,
        inputs=[OpSchema.FormalParameter("operands", "T", param_option=OpSchema.FormalParameterOption.Variadic)],
        outputs=[OpSchema.FormalParameter("out", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[OpSchema.Attribute(n, getattr(OpSchema.AttrType, kind)) for n, kind in attributes.items()],
    )
    return Op(Opset(DOMAIN, 1), name, schema)
