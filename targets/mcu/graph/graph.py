"""A network in integers only: what the planner places and the printer prints.

Tensors are int8 of shape (H, W, C); a vector of n is (1, 1, n), and a batch of maps is one below the other.
``IntegerGraph.run`` is the reference that the C library equals bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgeopt.targets.mcu.graph.tensor import Tensor, part_of
from edgeopt.targets.mcu.nodes.node import Node


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """Nodes in execution order over named tensors."""

    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All tensors by name, int8 (H, W, C), for the int8 inputs of one inference."""
        values = {name: inputs[name].reshape(self.tensors[name].shape) for name in self.inputs}
        for node in self.nodes:
            y = node.run_all(*(values[name] for name in node.inputs))
            values[node.output] = y.reshape(self.tensors[node.output].shape)
        return values

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of a node."""
        return node.macs(self.tensors[node.output].shape)

    def ends(self, node: Node) -> tuple[Tensor, Tensor]:
        """What one call of a node sees of its first input, where it has one, and of its output."""
        names = (*node.inputs, node.output)[0], node.output
        x, y = (replace(t, shape=part_of(t.shape, node.samples)) for t in (self.tensors[name] for name in names))
        return x, y

    def users(self, tensor: str) -> list[int]:
        """Indices of the nodes that read a tensor."""
        return [i for i, node in enumerate(self.nodes) if tensor in node.inputs]
