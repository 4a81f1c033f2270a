"""A depthwise convolution of the values, seen as images, that forms of attention add to their result.

    [batch, heads, tokens, e]  ->  the same,    tokens = side * side, perhaps after a class token, which gets nothing

Its filters, [heads * e, 1, k, k] for one a channel or [heads, 1, k, k] for one a head, start at zero.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeopt.ir.nodes import aten
from edgeopt.ir.program import Program, origin


def add_convolution(
    program: Program, root: fx.Node, result: fx.Node, value: fx.Node, filters: torch.Tensor, side: int
) -> tuple[fx.Node, str]:
    """Insert ``result + conv(value)`` before ``root``; return it with the name of the filters."""
    heads, tokens, channels = (int(size) for size in value.meta["val"].shape[1:])
    groups, kernel, first = filters.shape[0], filters.shape[-1], tokens - side * side
    weight = program.add_constant(f"{origin(root)}_convolution", filters)

    def insert(target: torch._ops.OpOverload, *args: object) -> fx.Node:
        return program.insert(root, target, *args)

    # Channels of a group are one axis; those that share a filter are images of their own.
    order = [0, 1, 3, 2] if groups > heads else [0, 3, 1, 2]
    rows = insert(aten.slice.Tensor, insert(aten.permute.default, value, order), 3, first, tokens)
    images = insert(aten.reshape.default, rows, [-1, groups, side, side])
    given = (images, weight, None, [1, 1], [kernel // 2] * 2, [1, 1], groups)
    local = insert(aten.conv2d.default, *given)
    outer = [heads, channels] if groups > heads else [channels, heads]
    flat = insert(aten.reshape.default, local, [-1, *outer, side * side])
    back = insert(aten.permute.default, flat, [0, 1, 3, 2] if groups > heads else [0, 2, 3, 1])
    if first:
        back = insert(aten.pad.default, back, [0, 0, first, 0])
    return insert(aten.add.Tensor, result, back), weight.name
