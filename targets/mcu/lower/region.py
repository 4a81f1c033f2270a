"""What stays in float between integers: the operators between dequantized values and one quantize node.

Where it is a function of single values it becomes a table of 256 bytes (GELU, sigmoid, hard swish,
``x * tanh(softplus(x))``: whatever the formula); everything else goes to TVM as a module with int8 at both ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from edgeopt.ir.nodes import run_node
from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE
from edgeopt.targets.mcu.graph.tensor import Tensor

_UNTAGGED = frozenset({torch.ops.aten.hardswish.default})
"""Pointwise operators that torch does not tag as such."""


@dataclass(frozen=True)
class Region:
    """``nodes`` in order and the result, ``end``; ``sources``: quantized values read; ``constants``: the others."""

    end: fx.Node
    sources: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]
    constants: Mapping[fx.Node, torch.Tensor]

    @property
    def is_table(self) -> bool:
        """Whether the result is a function of single values of one tensor."""
        return (
            all(map(is_pointwise, self.nodes))
            and len(self.sources) == 1
            and all(c.numel() == 1 for c in self.constants.values())
        )


def is_pointwise(node: fx.Node) -> bool:
    """Whether an operator goes value by value."""
    return node.target in _UNTAGGED or torch.Tag.pointwise in getattr(node.target, "tags", ())


def collect(program: Program, end: fx.Node, quantized: Collection[fx.Node]) -> Region:
    """Return the region that ends with ``end``; ``quantized``: the values that are there as integers.

    Raises ValueError, with the reason, where it reads something else.
    """
    found: set[fx.Node] = set()
    sources: dict[fx.Node, None] = {}
    constants: dict[fx.Node, torch.Tensor] = {}
    pending = [end]
    while pending:
        node = pending.pop()
        if node in quantized:
            sources[node] = None
        elif (constant := _constant(program, node)) is not None:
            constants[node] = constant
        elif node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            raise ValueError(f"it reads {node.name}, which is not quantized")
        elif node not in found:
            found.add(node)
            pending += reversed(node.all_input_nodes)
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    return Region(end, tuple(sources), tuple(sorted(found, key=order.__getitem__)), constants)


def _constant(program: Program, node: fx.Node) -> torch.Tensor | None:
    """The value of a constant, dequantized where it was stored as integers."""
    if node.target is DEQUANTIZE and all(program.constant(used) is not None for used in node.all_input_nodes):
        dequantized: torch.Tensor = run_node(node, program.constant)
        return dequantized
    return program.constant(node)


def tabulate(region: Region, x: Tensor, y: Tensor) -> np.ndarray:
    """Return a table region's 256 results, int8, for the values of ``x`` from -128 on, in the map of ``y``."""
    values: dict[fx.Node, Any] = {node: constant.reshape(()) for node, constant in region.constants.items()}
    values[region.sources[0]] = (torch.arange(-128, 128) - x.zero_point) * torch.tensor(x.scale)
    for node in region.nodes:
        values[node] = run_node(node, values.__getitem__)
    q = torch.round(values[region.end] / torch.tensor(y.scale)) + y.zero_point
    return q.expand(256).clamp(-128, 127).to(torch.int8).numpy()
