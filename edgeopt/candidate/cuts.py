"""Programs cut short: what is still to be read after a node becomes the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from edgeopt.ir.program import Program
from edgeopt.ops.quantize import DEQUANTIZE, QUANTIZE


@dataclass(frozen=True)
class Cut:
    """A program up to and with the call of index ``end``; ``values`` are what is read after it."""

    program: Program
    end: int
    values: tuple[fx.Node, ...]

    def shortened(self) -> Program:
        """Return a program that ends here, whose outputs bear the names of their nodes."""
        program = self.program.clone()
        nodes = {node.name: node for node in program.graph.nodes}
        names = tuple(dict.fromkeys(value.name for value in self.values))
        program.output_node.args = (tuple(nodes[name] for name in names),)
        program.output_names = names
        program.clean()
        return program


def cuts_of(program: Program) -> list[Cut]:
    """Return the places where a program can be cut, in order, the last of them its end.

    No value there is on its way to be rounded to integers: where a target computes on integers it is never stored.
    """
    calls = list(program.calls)
    index = {node: position for position, node in enumerate(calls)}
    last_read = {node: max((index.get(user, len(calls)) for user in node.users), default=-1) for node in calls}
    cuts: list[Cut] = []
    live: list[fx.Node] = []
    for end, node in enumerate(calls[:-1]):
        live = [value for value in (*live, node) if last_read[value] > end]
        tensors = [value for value in live if isinstance(value.meta["val"], torch.Tensor)]
        if tensors and not any(map(_is_rounded_next, tensors)):
            cuts.append(Cut(program, end, tuple(map(_as_real, tensors))))
    return [*cuts, Cut(program, len(calls) - 1, program.results)]


def first_layer(program: Program, after: int, upto: int) -> fx.Node:
    """Return the first call among those of index above ``after`` that computes, rounding and its inverse excepted."""
    region: Sequence[fx.Node] = list(program.calls)[after + 1 : upto + 1]
    computing = [node for node in region if node.target not in (QUANTIZE, DEQUANTIZE)]
    return (computing or region)[0]


def _as_real(node: fx.Node) -> fx.Node:
    """Return the real numbers that integers stand for, where they stand for some: no target returns the integers."""
    return next((user for user in node.users if user.target is DEQUANTIZE), node)


def _is_rounded_next(node: fx.Node) -> bool:
    """Whether a value has no reader but what leads to its rounding."""
    while node.target not in (QUANTIZE, DEQUANTIZE) and len(node.users) == 1:
        node = next(iter(node.users))
        if node.target is QUANTIZE:
            return True
    return False
