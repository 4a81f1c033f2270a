"""Steps through a graph that leave values as they are: casts, copies and what only moves data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from edgeopt.folding.channels import moves
from edgeopt.folding.layers import is_layer
from edgeopt.program import Program

aten = torch.ops.aten

CASTS = frozenset({aten._to_copy.default, aten.to.dtype, aten.type_as.default})
COPIES = frozenset({aten.alias.default, aten.clone.default, aten.detach.default, aten.dropout.default})


def source(node: object) -> fx.Node | None:
    """Return the node behind casts and copies, or None for what is no node."""
    while isinstance(node, fx.Node) and node.target in CASTS | COPIES:
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def readers(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes that read a value, through casts and copies."""
    for user in node.users:
        if user.target in CASTS | COPIES:
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
        node = node.args[0]  # type: ignore[assignment]
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
