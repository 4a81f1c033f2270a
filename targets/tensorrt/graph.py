"""A program as the ONNX that TensorRT reads: strongly typed, at the lowest opset that spells it.

There are two variants of one model: with bodies alone, in which every operator is a standard one, and with plug-in
nodes, where calls of our operators stay calls in the domain ``edgeopt`` and name their plug-in; the function behind
each call remains in the file, for whoever has no plug-in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeopt import onnx
from edgeopt.kernels.cuda.inventory import PLUGINS, Plugin
from edgeopt.program import Program

if TYPE_CHECKING:
    import onnx_ir as ir

_MASK = 1e30
"""Finite constants beyond this stand for minus infinity in masks."""

_FARTHEST = 2.0**15
"""What they become: its exponential is zero after a softmax's shift, and scores can be added to it in FP16."""


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
    from onnx_ir.passes.common import ShapeInferencePass

    bodies = onnx.translate(program, keep=())
    names = {plugin.node for plugin in PLUGINS}
    plugins = onnx.translate(program, keep=names).model if _has_own_operators(program) else None
    if plugins is not None and not plugin_calls(plugins):
        plugins = None
    if plugins is not None:
        _name_plugins(plugins)
    for model in filter(None, (bodies.model, plugins)):
        # Not every value has a type after torch.onnx, and what has none could not be converted.
        ShapeInferencePass()(model)
    return Variants(bodies.model, plugins, bodies.notes)


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

    current = model.opset_imports[""]
    nodes = [*model.graph.all_nodes(), *(n for f in model.functions.values() for n in f.all_nodes())]
    standard = {node.op_type for node in nodes if node.domain == ""}
    lowest = max(onnx_package.defs.get_schema(name, current, "").since_version for name in standard)
    model.graph.opset_imports[""] = lowest
    for function in model.functions.values():
        function.opset_imports[""] = lowest
    return lowest


def _has_own_operators(program: Program) -> bool:
    return any(str(node.target).startswith(f"{onnx.DOMAIN}.") for node in program.calls)


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
