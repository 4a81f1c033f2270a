"""Weights in four bits: which layers store theirs as codes.

    y = conv(x, w), every weight one of sixteen integers   =>   the same, w as codes two a byte

The bytes that come out are the same. Depthwise convolutions have no such kernel, and stay int8.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeopt.quant.fp4 import Element

from .integer_graph import Conv2d, IntegerGraph, Linear, Node


def in_codes(graph: IntegerGraph, element: Element) -> IntegerGraph:
    """Return the graph with the weights that are an element's integers as codes."""
    numbers = element.table().numpy().astype(np.int8)
    return replace(graph, nodes=tuple(_in_codes(node, numbers) for node in graph.nodes))


def _in_codes(node: Node, numbers: np.ndarray) -> Node:
    if isinstance(node, Conv2d | Linear) and np.isin(node.weights, numbers).all():
        return replace(node, numbers=numbers)
    return node
