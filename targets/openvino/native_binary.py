"""``edgeopt::binary_linear`` and ``binary_conv2d`` as nodes that OpenVINO runs by kernels of ours.

Before anything is stored a layer applies the ReLU or GELU that alone reads it, adds a residual, and where another of
its kind is its only reader hands over the bits of the next signs in the place of floats: an activation before them
costs nothing, for it only moves what the layer's numbers are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from edgeopt.quant.binary import words
from edgeopt.targets.openvino.native_node import drop_unused, emitter, nodes, only_consumer

if TYPE_CHECKING:
    import onnx_ir as ir

Ints = Sequence[int]

# The operators, and the axis of their channels.
_AXES = {"BinaryLinear": -1, "BinaryConv2d": 1}
_PANEL = 16
_HALVINGS = 60
_ROLES = ("x", "shift", "weight", "scale", "bias")


def linear() -> Callable[..., Any]:
    """Return the function of ``edgeopt::binary_linear``'s arguments that emits its node."""
    emit = emitter("BinaryLinear", roles="STRING", activation="STRING", inputs="INT", outputs="INT")

    def binary_linear_node(x: Any, shift: Any, weight: Any, scale: Any, bias: Any) -> Any:
        sizes = {"inputs": x.shape[-1], "outputs": weight.shape[0]}
        return emit(x, shift, _panels(weight), scale, bias, roles=",".join(_ROLES), activation="none", **sizes)

    return binary_linear_node


def conv2d() -> Callable[..., Any]:
    """Return the function of ``edgeopt::binary_conv2d``'s arguments that emits its node."""
    window = dict.fromkeys(("kernel", "strides", "padding", "dilations"), "INTS")
    emit = emitter("BinaryConv2d", roles="STRING", activation="STRING", inputs="INT", outputs="INT", **window)

    def binary_conv2d_node(
        x: Any, shift: Any, weight: Any, scale: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints
    ) -> Any:
        outputs, *kernel, _ = weight.shape
        sizes = {"inputs": x.shape[1], "outputs": outputs, "kernel": kernel}
        window = {"strides": list(stride), "padding": list(padding), "dilations": list(dilation)}
        return emit(x, shift, weight, scale, bias, roles=",".join(_ROLES), activation="none", **sizes, **window)

    return binary_conv2d_node


def _panels(weight: Any) -> Any:
    """Return words [outputs, words] as [panels, words, 16], which OpenVINO does once as it compiles."""
    from onnxscript import opset20

    op: Any = opset20  # what is declared of operands is narrower than what they take
    outputs, count = weight.shape
    padded = op.Pad(weight, op.Constant(value_ints=[0, 0, -outputs % _PANEL, 0]))
    panels = op.Reshape(padded, op.Constant(value_ints=[-1, _PANEL, count]))
    return op.Transpose(panels, perm=[0, 2, 1])


def absorb_followers(model: ir.Model) -> None:
    """Fuse activations, residuals and the signs of layers that follow."""
    for absorb in (_absorb_activation, _absorb_residual, _hand_over_bits):
        for name in _AXES:
            for node in nodes(model, name):
                absorb(node)
        drop_unused(model)


def _absorb_activation(node: ir.Node) -> None:
    import onnx_ir as ir

    out = node.outputs[0]
    reader = only_consumer(out)
    is_relu = reader is not None and reader.op_type == "Relu"
    kind, last = ("relu", reader) if is_relu else ("gelu", _gelu(out))
    if last is not None and not last.outputs[0].is_graph_output():
        node.attributes["activation"] = ir.AttrString("activation", kind)
        _take_over(node, last)


def _gelu(x: ir.Value) -> ir.Node | None:
    """Return the last node of x * (0.5 * (erf(x / sqrt 2) + 1)), where x is read for that alone."""
    readers = {use.node.op_type: use.node for use in x.uses()}
    if x.is_graph_output() or len(x.uses()) != 2 or set(readers) != {"Div", "Mul"}:
        return None
    value = readers["Div"].outputs[0]
    for kind, constant in (("Div", math.sqrt(2)), ("Erf", None), ("Add", 1.0), ("Mul", 0.5)):
        if kind != "Div":
            step = only_consumer(value)
            if step is None or step.op_type != kind:
                return None
            value = step.outputs[0]
        if constant is not None and not _has_constant(value.producer(), constant):
            return None
    return readers["Mul"] if only_consumer(value) is readers["Mul"] else None


def _has_constant(node: ir.Node | None, expected: float) -> bool:
    found = [
        v.const_value.numpy() for v in (node.inputs if node else ()) if v is not None and v.const_value is not None
    ]
    return len(found) == 1 and found[0].size == 1 and math.isclose(found[0].item(), expected, rel_tol=1e-6)


def _absorb_residual(node: ir.Node) -> None:
    out = node.outputs[0]
    add = only_consumer(out)
    if add is None or add.op_type != "Add" or add.outputs[0].is_graph_output():
        return
    (other,) = [value for value in add.inputs if value is not out] or [None]
    if other is None or other.const_value is not None or other.shape is None or other.shape != add.outputs[0].shape:
        return
    _add_operand(node, "residual", other)
    # What is added may be computed after the layer.
    graph = node.graph
    assert graph is not None
    graph.remove(node)
    graph.insert_before(add, node)
    _take_over(node, add)


def _hand_over_bits(node: ir.Node) -> None:
    import onnx_ir as ir

    out = node.outputs[0]
    reader = only_consumer(out)
    if reader is None or reader.op_type != node.op_type or _roles(reader)[:2] != ["x", "shift"]:
        return
    x, shift = reader.inputs[:2]
    if x is not out or shift is None or shift.const_value is None:
        return  # it is the reader's residual, or the shift is computed
    activation = node.attributes["activation"].as_string()
    if "residual" in _roles(node):
        activation = "none"  # what the signs are taken of is not the activation
    else:
        node.attributes["activation"] = ir.AttrString("activation", "none")
    for role, limit in thresholds(activation, shift.const_value.numpy()).items():
        _add_operand(node, role, _constant(node, f"{shift.name}_{role}_of_{node.name}", limit))
    out.dtype = ir.DataType.INT32
    assert out.shape is not None
    shape = list(out.shape)
    shape[_AXES[node.op_type]] = words(node.attributes["outputs"].as_int())
    out.shape = ir.Shape(shape)
    _set(reader, [reader.inputs[0], *reader.inputs[2:]], ["x_bits", *_roles(reader)[2:]])


def thresholds(activation: str, shift: np.ndarray) -> dict[str, np.ndarray]:
    """Return float32 ``high`` and for a GELU ``low`` with activation(y) + shift >= 0 where y >= high or y <= low.

    A GELU falls from zero to its least value and rises from there; its float32 values below about -5 are zero again.
    """
    if activation != "gelu":
        high = -shift
        return {"high": np.where(high <= 0, -np.inf, high) if activation == "relu" else high}
    y_least = np.full_like(shift, -0.7517916)
    always = _is_set(y_least, shift)
    high = _bisect(y_least, np.maximum(1, -2 * shift), shift)
    far = np.full_like(shift, -100)
    low = np.where(_is_set(far, shift), _bisect(y_least, far, shift), -np.inf)
    return {"high": np.where(always, -np.inf, high).astype(shift.dtype), "low": low.astype(shift.dtype)}


def _is_set(y: np.ndarray, shift: np.ndarray) -> np.ndarray:
    y_, shift_ = torch.from_numpy(y), torch.from_numpy(shift)
    return (functional.gelu(y_) + shift_ >= 0).numpy()


def _bisect(clear: np.ndarray, is_set: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the float32 nearest to ``clear``, where no bit is set, with a set bit; one is at ``is_set``."""
    for _ in range(_HALVINGS):
        middle = ((clear.astype(np.float64) + is_set) / 2).astype(shift.dtype)
        found = _is_set(middle, shift)
        clear, is_set = np.where(found, clear, middle), np.where(found, middle, is_set)
    return is_set


def _constant(node: ir.Node, name: str, array: np.ndarray) -> ir.Value:
    import onnx_ir as ir

    value = ir.val(name, const_value=ir.tensor(array, name=name))
    assert node.graph is not None
    node.graph.register_initializer(value)
    return value


def _take_over(node: ir.Node, last: ir.Node) -> None:
    """Let ``node`` stand for all up to ``last``."""
    import onnx_ir as ir

    ir.convenience.replace_all_uses_with(last.outputs[0], node.outputs[0])


def _roles(node: ir.Node) -> list[str]:
    return node.attributes["roles"].as_string().split(",")


def _add_operand(node: ir.Node, role: str, value: ir.Value) -> None:
    _set(node, [*node.inputs, value], [*_roles(node), role])


def _set(node: ir.Node, operands: list[Any], roles: list[str]) -> None:
    import onnx_ir as ir

    node.resize_inputs(len(operands))
    for index, value in enumerate(operands):
        node.replace_input_with(index, value)
    node.attributes["roles"] = ir.AttrString("roles", ",".join(roles))
