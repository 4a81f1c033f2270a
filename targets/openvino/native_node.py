"""Nodes of a domain of its own in ONNX that have no body: the front end takes them over by the domain's library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from edgeopt.onnx import DOMAIN

if TYPE_CHECKING:
    import onnx_ir as ir


def emitter(name: str, result: str = "float", domain: str = DOMAIN, **attributes: str) -> Callable[..., Any]:
    """Return what emits a node with any operands, one result and attributes of these types (``alpha="FLOAT"``)."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    variadic = OpSchema.FormalParameterOption.Variadic
    schema = OpSchema(
        name,
        domain,
        1,
        inputs=[OpSchema.FormalParameter("operands", "Any", param_option=variadic, is_homogeneous=False)],
        outputs=[OpSchema.FormalParameter("out", "T")],
        type_constraints=[("Any", ["tensor(float)", "tensor(int32)"], ""), ("T", [f"tensor({result})"], "")],
        attributes=[OpSchema.Attribute(n, getattr(OpSchema.AttrType, kind)) for n, kind in attributes.items()],
    )
    return Op(Opset(domain, 1), name, schema)


def nodes(model: ir.Model, name: str) -> Iterator[ir.Node]:
    """Yield the nodes of one of our operators, as they are when this is called."""
    yield from [node for node in model.graph.all_nodes() if (node.domain, node.op_type) == (DOMAIN, name)]


def only_consumer(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads a value, None where there are more or it is an output."""
    readers = value.uses()
    return None if value.is_graph_output() or len(readers) != 1 else next(iter(readers)).node


def producer(node: ir.Node, index: int) -> ir.Node | None:
    """Return the node that computes an operand, None where it is given."""
    operand = node.inputs[index]
    return None if operand is None else operand.producer()


def drop_unused(model: ir.Model) -> None:
    """Remove nodes whose results nobody reads."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
