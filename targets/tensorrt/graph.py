"""A program as the ONNX that TensorRT reads: strongly typed, at the lowest opset that spells it.

There are two variants of one model: with bodies alone, in which every operator is a standard one, and with plug-in
nodes, where calls of our operators stay calls in the domain ``edgeopt`` and name their plug-in; the function behind
each call remains in the file, for whoever has no plug-in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from edgeopt import onnx
from edgeopt.ir.program import Program
from edgeopt.kernels.cuda.inventory import PLUGINS, Plugin
from edgeopt.targets.tensorrt import four_bits
from edgeopt.targets.tensorrt.plugins import with_plugin_operators

if TYPE_CHECKING:
    import onnx_ir as ir

_IR_VERSION = 11
"""The first that has FLOAT4E2M1."""

_MASK = 1e30
"""Finite constants beyond this stand for minus infinity in masks."""

_FARTHEST = 2.0**15
"""What they become: its exponential is zero after a softmax's shift, and scores can be added to it in FP16."""


_ANY_SIZE = 2**31


@dataclass(frozen=True)
class Variants:
    """A program's models. ``plugins`` is None where nothing in the program has a plug-in.

    ``bounded`` names the constants that stood for minus infinity, once they are bounded.
    """

    bodies: ir.Model
    plugins: ir.Model | None
    notes: tuple[str, ...]
    bounded: list[str] = field(default_factory=list)

    def bound_masks(self) -> tuple[str, ...]:
        """Replace constants that stand for minus infinity by ones that FP16 holds; return their names."""
        for model in filter(None, (self.bodies, self.plugins)):
            self.bounded.extend(name for name in _bound_masks(model) if name not in self.bounded)
        return tuple(self.bounded)


def translate(program: Program) -> Variants:
    """Return both variants in float32.

    Raises Unsupported where operators have no translation.
    """
    functions = {four_bits.OPERATOR: four_bits.function}
    bodies = onnx.translate(program, (four_bits.FUNCTION,), functions)
    _unpack_signs(bodies.model)
    names = (four_bits.FUNCTION, *(plugin.node for plugin in PLUGINS))
    fused = with_plugin_operators(program)
    plugins = onnx.translate(fused, names, functions).model if _may_have_plugins(fused) else None
    for model in filter(None, (bodies.model, plugins)):
        _finish(model)
    if plugins is not None and not plugin_calls(plugins):
        plugins = None
    if plugins is not None:
        _name_plugins(plugins)
    return Variants(bodies.model, plugins, bodies.notes)


def _unpack_signs(model: ir.Model) -> None:
    """Compute the weights of signs, which bodies unpack bit by bit and TensorRT would unpack into 32 bits each."""
    import onnx_ir as ir
    from onnx_ir import passes
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants

    stored = model.graph.initializers.values()
    if not any(value.dtype == ir.DataType.INT32 and len(value.shape or ()) > 1 for value in stored):
        return
    fold_constants(model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
    )(model)


def plugin_calls(model: ir.Model) -> list[ir.Node]:
    """Return the calls of our operators."""
    return [node for node in model.graph if node.domain == onnx.DOMAIN]


def used_plugins(model: ir.Model) -> tuple[Plugin, ...]:
    """Return the plug-ins that a model calls."""
    called = {node.op_type for node in plugin_calls(model)}
    return tuple(plugin for plugin in PLUGINS if plugin.node in called)


def _bound_masks(model: ir.Model) -> list[str]:
    import numpy as np
    import onnx_ir as ir

    bounded = []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        array = tensor.numpy()
        beyond = np.isfinite(array) & (np.abs(array) >= _MASK)
        if beyond.any():
            near = np.where(beyond, np.sign(array) * _FARTHEST, array).astype(np.float32)
            value.const_value = ir.tensor(near, name=value.name)
            bounded.append(str(value.name))
    return bounded


def lower_opset(model: ir.Model) -> int:
    """State the lowest opset under which every operator means the same; return it."""
    import onnx as onnx_package

    current = _opset_of_types(model)
    nodes = [*model.graph.all_nodes(), *(n for f in model.functions.values() for n in f.all_nodes())]
    standard = {node.op_type for node in nodes if node.domain == ""}
    lowest = max(onnx_package.defs.get_schema(name, current, "").since_version for name in standard)
    model.graph.opset_imports[""] = lowest
    for function in model.functions.values():
        function.opset_imports[""] = lowest
    return lowest


def _finish(model: ir.Model) -> None:
    """Spell weights in four bits as types, and give every value a type: one that has none could not be converted."""
    from onnx_ir.passes.common import ShapeInferencePass

    four_bits.write(model)
    model.graph.opset_imports[""] = _opset_of_types(model)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    ShapeInferencePass()(model)


def _opset_of_types(model: ir.Model) -> int:
    """Return the opset that has the element types of all constants."""
    import onnx_ir as ir

    kinds = {value.dtype for value in model.graph.initializers.values() if value.dtype is not None}
    newest = {ir.DataType.INT4: 21, ir.DataType.FLOAT4E2M1: 23}
    return max((onnx.OPSET, *(newest.get(kind, 0) for kind in kinds)))


def _may_have_plugins(program: Program) -> bool:
    operators = {plugin.operator for plugin in PLUGINS}
    return any(
        isinstance(n.target, torch._ops.OpOverload) and n.target._schema.name in operators for n in program.calls
    )


def _name_plugins(model: ir.Model) -> None:
    """Say at every call which plug-in takes it: TensorRT's parser reads these two attributes."""
    import onnx_ir as ir

    by_node = {plugin.node: plugin for plugin in PLUGINS}
    for node in plugin_calls(model):
        plugin = by_node[node.op_type]
        for name, value in (("plugin_namespace", plugin.namespace), ("plugin_version", plugin.version)):
            node.attributes[name] = ir.AttrString(name, value)
    for function in model.functions.values():
        if function.name in by_node:
            for name in ("plugin_namespace", "plugin_version"):
                function.attributes[name] = ir.AttrString(name, "")
