"""Split a linear whose readers each take a part of its channels: queries, keys and values get layers of their own.

Before => after, p a part (a select or slice, or an element of unbind, chunk and split), moves being reshapes and
permutes:

    p(moves(W x + b))  =>  moves'(W[p] x + b[p]),    W[p] the rows whose channels the part holds

Each part then has its own range, so that integers resolve values as well as they do queries; what only queries are
multiplied with goes into their rows; and a part can be computed when it is needed.

Not when: another reader takes the result as a whole; the part is not the same channels of every position; a
dimension is known only at run time; weight or bias are computed at run time.

Source: the distributive law, row by row.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from edgeopt.ir.nodes import aten, run_node, shape_of
from edgeopt.ir.program import Program
from edgeopt.ir.rewrite import Match, Pattern, Rewrite, Rule, arguments, op
from edgeopt.quant.scheme import DIVISIONS, MOVES

_PARTS = (aten.select.int, aten.slice.Tensor, operator.getitem)
_WHOLE = MOVES - set(_PARTS) - {aten.max_pool2d.default, aten.pad.default, aten.expand.default}


class PartOfLinear(Rule):
    """p(moves(W x + b)) => moves'(W[p] x + b[p])."""

    allows_sharing = True

    def pattern(self) -> Pattern:
        """Draw any part."""
        return op(*_PARTS, where=lambda program, node: _linear(node) is not None)

    def check(self, program: Program, m: Match) -> str | None:
        """Refuse parts that are no channels, and linears that are read as a whole."""
        found = arguments(linear := _chain(m.root)[0])
        if program.constant(found["weight"]) is None or (found["bias"] and program.constant(found["bias"]) is None):
            return "its weight or bias is computed at run time"
        if not all(isinstance(size, int) for node in (linear, m.root) for size in node.meta["val"].shape):
            return "a dimension is known only at run time"
        if not _is_read_in_parts(linear):
            return f"{linear.name} is also read as a whole"
        return None if _channels(_places(m.root), linear) is not None else "it is not the same channels everywhere"

    def rewrite(self, program: Program, m: Match) -> fx.Node:
        """Build the part's own linear, and the moves that give it the part's shape."""
        linear, places = _chain(m.root)[0], _places(m.root)
        channels, found = _channels(places, linear), arguments(linear)
        assert channels is not None
        weight, bias = (
            value and program.add_constant(f"{value.name}_part", program.constants[value.name][channels].clone())
            for value in (found["weight"], found["bias"])
        )
        part = program.insert(m.root, aten.linear.default, found["input"], weight, bias)
        order = _order(places)
        shape = [places.shape[dim] for dim in order]
        if list(part.meta["val"].shape) != shape:
            part = program.insert(m.root, aten.reshape.default, part, shape)
        back = [order.index(dim) for dim in range(len(order))]
        return part if back == sorted(back) else program.insert(m.root, aten.permute.default, part, back)


class SplitProjections(Rewrite):
    """Give each part of a linear's channels a linear of its own."""

    name = "split-projections"
    rules = (PartOfLinear(),)


def _chain(part: fx.Node) -> list[fx.Node]:
    """The nodes from the linear, or whatever the moves begin with, to the part."""
    chain = [part]
    while chain[0] is part or chain[0].target in _WHOLE | DIVISIONS:
        source: Any = chain[0].args[0]
        chain.insert(0, source)
    return chain


def _linear(part: fx.Node) -> fx.Node | None:
    start = _chain(part)[0]
    return start if start.target is aten.linear.default else None


def _places(part: fx.Node) -> torch.Tensor:
    """The part's elements as their places in the linear's result."""
    linear, *moves = _chain(part)
    shape = shape_of(linear)
    places: dict[fx.Node, torch.Tensor] = {linear: torch.arange(shape.numel()).reshape(shape)}
    for node in moves:
        places[node] = run_node(node, places.__getitem__)
    return places[part]


def _order(places: torch.Tensor) -> list[int]:
    """The part's dimensions, the one with the longest steps first: as the linear would have them."""
    steps = [int(places.select(d, 1).min() - places.min()) if places.shape[d] > 1 else 0 for d in range(places.dim())]
    single = [d for d in range(places.dim()) if places.shape[d] == 1]
    return single + sorted((d for d in range(places.dim()) if d not in single), key=lambda d: -steps[d])


def _channels(places: torch.Tensor, linear: fx.Node) -> torch.Tensor | None:
    """The channels that the part holds of every position, or None."""
    *positions, width = linear.meta["val"].shape
    count = int(torch.Size(positions).numel())
    if places.numel() % count or places.numel() == count * width:
        return None
    rows = places.permute(_order(places)).reshape(count, -1)
    channels = rows[0]
    return channels if bool((rows == channels + width * torch.arange(count)[:, None]).all()) else None


def _is_read_in_parts(node: fx.Node) -> bool:
    return all(
        reader.target in _PARTS or (reader.target in _WHOLE | DIVISIONS and _is_read_in_parts(reader))
        for reader in node.users
    )
