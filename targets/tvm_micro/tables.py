"""Functions of one value: whatever the formula, an int8 input has 256 results.

GELU, sigmoid, hard swish, ``x * tanh(softplus(x))``: every chain of pointwise operators between one dequantize and
one quantize node becomes a table of bytes, exact to the rounding of the chain in float.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.program import Program

from .integer_graph import Tensor

_POINTWISE = frozenset({torch.ops.aten.hardswish.default})
"""Pointwise operators that torch does not tag as such."""


def _is_pointwise(node: fx.Node) -> bool:
    return node.target in _POINTWISE or torch.Tag.pointwise in getattr(node.target, "tags", ())


def pointwise_chain(program: Program, end: fx.Node, quantised: Collection[fx.Node]) -> tuple[fx.Node, list[fx.Node]]:
    """Return the one quantised value that ``end`` is a function of, and the operators between, in order.

    Raises ValueError, with the reason, where an operator looks at other positions or there are several such values.
    """
    found: dict[fx.Node, None] = {}
    sources: set[fx.Node] = set()
    pending = [end]
    while pending:
        node = pending.pop()
        constant = program.constant(node)
        if node in quantised:
            sources.add(node)
        elif constant is not None and constant.numel() == 1:
            continue
        elif node.op != "call_function" or not _is_pointwise(node):
            raise ValueError("no kernel")
        elif node not in found:
            found[node] = None
            pending += node.all_input_nodes
    if len(sources) != 1:
        raise ValueError(f"no kernel, and no table: it is a function of {len(sources)} quantised values")
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    return sources.pop(), sorted(found, key=order.__getitem__)


def tabulate(program: Program, source: fx.Node, chain: list[fx.Node], x: Tensor, y: Tensor) -> np.ndarray:
    """Return the chain's 256 results, int8, for the values of ``x`` from -128 on, in the map of ``y``."""
    real = (torch.arange(-128, 128) - x.zero_point) * torch.tensor(x.scale)
    values: dict[fx.Node, Any] = {source: real}

    def value(node: fx.Node) -> Any:
        constant = program.constant(node)
        return values[node] if constant is None else constant.reshape(())

    for node in chain:
        values[node] = node.target(*map_arg(node.args, value), **map_arg(node.kwargs, value))  # type: ignore[operator]
    q = torch.round(values[chain[-1]] / torch.tensor(y.scale)) + y.zero_point
    return q.expand(256).clamp(-128, 127).to(torch.int8).numpy()
