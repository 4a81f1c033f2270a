"""Scales that are powers of two: which layers are requantized by a shift, with a kernel that has no multiplication.

    clamp((acc 2^(32-s) + 2^31) >> 32 + zero)   =>   clamp(((acc + 2^(s-1)) >> s) + zero)

The bytes that come out are the same. Cores that shift and round by their multiplication, in one instruction, keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeopt.errors import UserError
from edgeopt.kernels.mcu import packing
from edgeopt.targets.mcu.graph.graph import IntegerGraph
from edgeopt.targets.mcu.nodes.node import Node
from edgeopt.targets.mcu.nodes.weighted import Weighted

REQUANTIZATIONS = ("multiplier", "shift")


def check_requantization(value: str) -> None:
    """Raise UserError for a requantization that there is not."""
    if value not in REQUANTIZATIONS:
        raise UserError(f"requantization is '{value}'", f"choose one of: {', '.join(REQUANTIZATIONS)}")


def by_shifts(graph: IntegerGraph, isas: Sequence[str]) -> IntegerGraph:
    """Return the graph with the layers requantized by shifts that a core without a long multiplication can."""
    if tuple(isas) != ("scalar",):
        return graph
    return replace(graph, nodes=tuple(map(_by_shifts, graph.nodes)))


def _by_shifts(node: Node) -> Node:
    if not isinstance(node, Weighted) or node.element is not None:
        return node  # of what looks its weights up there is one kernel: it multiplies by the power of two
    try:
        packing.pack_shifts(node.weights, node.folded_bias, node.multiplier)
    except ValueError:
        return node  # a sum that may leave int32 with its half of rounding, or a scale beyond its range
    return replace(node, shifts=True)
