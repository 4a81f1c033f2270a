"""Write linear attention out in standard operators, for targets that know no operator of ours.

Before => after:

    linear_attention(q, k, v, map)  =>  what the operator is defined as: phi(q) (phi(k)^T v) / (phi(q) sum_j phi(k)_j)

and so for every other form and map (see edgeopt.ops.linear_attention): the body is traced for the shapes at hand.

Not when: a dimension is known only at run time.

Source: Katharopoulos et al., Transformers are RNNs, ICML 2020; the operator's own definition for the other forms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from edgeopt.ir.convert import from_exported
from edgeopt.ir.nodes import as_node
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.ops.linear_attention import LINEAR_ATTENTION, attend


class LinearAttentionAsProducts(Rule):
    """linear_attention(...) => its body."""

    def pattern(self) -> Pattern:
        """Draw any linear attention."""
        return op(LINEAR_ATTENTION)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse sizes that are not numbers."""
        sizes = [size for node in m.root.all_input_nodes for size in node.meta["val"].shape]
        return None if all(isinstance(size, int) for size in sizes) else "a dimension is known only at run time"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Trace the body, and copy it in front of the operator."""
        given = arguments(m.root)
        read = {name: value for name, value in given.items() if isinstance(value, fx.Node)}
        body = _body(given, read)
        copies: dict[fx.Node, Any] = dict(zip(body.input_nodes, read.values(), strict=True))
        for node in body.graph.find_nodes(op="placeholder"):
            if node not in copies:
                copies[node] = program.add_constant(node.name, body.constants[node.name])
        for node in body.calls:
            args, kwargs = map_arg(node.args, copies.__getitem__), map_arg(node.kwargs, copies.__getitem__)
            copies[node] = program.insert(m.root, node.target, *args, **kwargs)
        return as_node(copies[body.results[0]])


class ExpandLinearAttention(Rewrite):
    """Write linear attention out in standard operators."""

    name = "expand-linear-attention"
    rules = (LinearAttentionAsProducts(),)


class _Body(torch.nn.Module):
    def __init__(self, given: dict[str, Any], names: list[str]) -> None:
        super().__init__()
        self.given, self.names = given, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return attend(**(self.given | dict(zip(self.names, values, strict=True))))


def _body(given: dict[str, Any], read: dict[str, fx.Node]) -> Program:
    """The operator's definition as a program of the tensors that it reads."""
    values = [node.meta["val"] for node in read.values()]
    # Inputs of their own: torch takes a tensor that is given twice for one.
    examples = tuple(torch.zeros(tuple(value.shape), dtype=value.dtype) for value in values)
    with torch.no_grad():
        return from_exported(torch.export.export(_Body(given, list(read)).eval(), examples))
