"""``edgeopt::binary_matmul`` as a node that OpenVINO runs by a kernel of ours, with the transposes beside it.

Each of its tensors has an order: axis i of the operand or result is axis order[i] of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.targets.openvino.native_node import drop_unused, emitter, nodes, only_consumer, producer

if TYPE_CHECKING:
    import onnx_ir as ir


def matmul() -> Callable[..., Any]:
    """Return the function of ``edgeopt::binary_matmul``'s arguments that emits its node."""
    orders = dict.fromkeys(("a_order", "b_order", "out_order"), "INTS")
    emit = emitter("BinaryMatmul", **orders, a_shift="FLOAT", b_shift="FLOAT", scale="FLOAT", bits="INT")

    def binary_matmul_node(a: Any, b: Any, a_shift: float, b_shift: float, scale: float, bits: bool) -> Any:
        ranks = {"a_order": len(a.shape), "b_order": len(b.shape), "out_order": max(len(a.shape), len(b.shape))}
        identity = {name: list(range(rank)) for name, rank in ranks.items()}
        return emit(a, b, **identity, a_shift=a_shift, b_shift=b_shift, scale=scale, bits=int(bits))

    return binary_matmul_node


def absorb_transposes(model: ir.Model) -> None:
    """Let products read their operands, and write their result, in the order that other layers have them in."""
    for node in nodes(model, "BinaryMatmul"):
        # The kernel reads along the last axis of a tensor: of b that may be either axis of its matrices.
        _absorb_before(node, 0, "a_order", last=(-1,))
        _absorb_before(node, 1, "b_order", last=(-1, -2))
        _absorb_after(node)
    drop_unused(model)


def _absorb_before(node: ir.Node, index: int, name: str, last: tuple[int, ...]) -> None:
    while (transpose := producer(node, index)) is not None and transpose.op_type == "Transpose":
        order = _permutation(transpose)[_order(node, name)]
        if not any(order[axis] == len(order) - 1 for axis in last):
            return
        node.replace_input_with(index, transpose.inputs[0])
        _set_order(node, name, order)


def _absorb_after(node: ir.Node) -> None:
    import onnx_ir as ir

    out = node.outputs[0]
    transpose = only_consumer(out)
    if transpose is None or transpose.op_type != "Transpose" or transpose.outputs[0].is_graph_output():
        return
    order = np.argsort(_permutation(transpose))
    if order[-1] != len(order) - 1:
        return
    _set_order(node, "out_order", order)
    out.shape = transpose.outputs[0].shape
    ir.convenience.replace_all_uses_with(transpose.outputs[0], out)


def _permutation(transpose: ir.Node) -> np.ndarray:
    return np.array(transpose.attributes["perm"].as_ints())


def _order(node: ir.Node, name: str) -> np.ndarray:
    return np.array(node.attributes[name].as_ints())


def _set_order(node: ir.Node, name: str, order: np.ndarray) -> None:
    import onnx_ir as ir

    node.attributes[name] = ir.AttrInt64s(name, order.tolist())
