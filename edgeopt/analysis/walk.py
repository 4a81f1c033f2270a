"""Steps through a graph: past casts, copies and what only moves data, to layers, and to one node's value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx

from edgeopt.analysis.channels import moves
from edgeopt.analysis.layers import is_layer
from edgeopt.ir.nodes import aten, node_arg, run_node
from edgeopt.ir.program import Program
from edgeopt.ops.opsets import CASTS

UNCHANGED = frozenset({*CASTS, aten.alias.default, aten.clone.default, aten.detach.default, aten.dropout.default})
"""What hands on the values of its operand: casts and copies."""


def source(node: object) -> fx.Node | None:
    """Return the node behind casts and copies, or None for what is not a node."""
    while isinstance(node, fx.Node) and node.target in UNCHANGED:
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def readers(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes that read a value, through casts and copies."""
    for user in node.users:
        if user.target in UNCHANGED:
            yield from readers(user)
        else:
            yield user


def only_reader(node: fx.Node) -> fx.Node | None:
    """Return the single node that reads a value, or None."""
    found = list(readers(node))
    return found[0] if len(found) == 1 else None


def before_moves(node: fx.Node | None) -> fx.Node | None:
    """Return the node whose value comes to ``node`` through data movement alone."""
    while (node := source(node)) is not None and moves(node):
        node = node_arg(node, 0)
    return node


def number(program: Program, value: object) -> float | None:
    """Return a Python number or the value of a constant with one element; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    constant = program.constant(value)
    return float(constant) if constant is not None and constant.numel() == 1 else None


def layer_before(node: fx.Node) -> fx.Node | None:
    """Return the linear or convolution that a value was projected by, through whatever was done to it since."""
    seen: set[fx.Node] = set()
    while node not in seen and node.op == "call_function":
        seen.add(node)
        if is_layer(node):
            return node
        computed = [used for used in node.all_input_nodes if used.op == "call_function"]
        if not computed:
            return None
        node = computed[0]
    return None


def layer_after(node: fx.Node) -> fx.Node | None:
    """Return the linear or convolution that alone reads a value, through data movement."""
    reader = only_reader(node)
    while reader is not None and moves(reader):
        reader = only_reader(reader)
    return reader if reader is not None and is_layer(reader) else None


def evaluate(program: Program, root: fx.Node, known: Mapping[fx.Node, Any]) -> Any:
    """Return the value of one node, computed from constants and the values that are known."""
    values = dict(known)
    for node in _needed(root, set(values)):
        if node.name in program.constants:
            values[node] = program.constants[node.name]
        else:
            values[node] = run_node(node, values.__getitem__)
    return values[root]


def _needed(node: fx.Node, seen: set[fx.Node]) -> Iterator[fx.Node]:
    """Yield what a node is computed from, in order, itself last, and nothing that was seen."""
    pending = [node]
    while pending:
        if unseen := [used for used in pending[-1].all_input_nodes if used not in seen]:
            pending += unseen
        elif (current := pending.pop()) not in seen:
            seen.add(current)
            yield current
