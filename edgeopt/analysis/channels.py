"""Following a channel axis through operators that only move, select or average values.

Such an operator M commutes with a scale and a shift per channel, M(a * x + s) = a * M(x) + s, as long as the
channel axis comes through whole. A factor common to all elements passes through any of them, and through a
matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import fx

from edgeopt.analysis.layers import describe
from edgeopt.ir.nodes import aten, int_list, node_arg, rank_of, shape_of
from edgeopt.ir.program import same_size
from edgeopt.ir.rewrite import arguments
from edgeopt.ops.opsets import PRODUCTS


def moves(node: fx.Node, factor: bool = False) -> bool:
    """Return whether a node only moves values; for a common ``factor``, whether it is linear in its first input."""
    return node.target in _MOVES or (factor and node.target in PRODUCTS)


def carry(node: fx.Node, axis: int | None, shifts: bool) -> int | str | None:
    """Return the axis on which channels leave a node that ``moves``, or the reason why they do not come through.

    ``axis`` is that of its input; None stands for a factor or shift common to all elements. ``shifts`` says
    whether there is a shift.
    """
    if node.target is aten.pad.default and (reason := _padding_refuses(node, shifts)):
        return reason
    if axis is None:
        return None
    after = _MOVES[node.target](node, axis)
    return f"{describe(node)} breaks up the channel axis" if after is None else after


def _padding_refuses(node: fx.Node, shifts: bool) -> str | None:
    given = arguments(node)
    # The other modes repeat values that are there.
    if given["mode"] != "constant" or (given["value"] in (None, 0) and not shifts):
        return None
    return f"{describe(node)} pads with {given['value'] or 0}, which the shift or scale would change"


def _rank(node: fx.Node) -> int:
    return rank_of(node_arg(node, 0))


def _dims(node: fx.Node, name: str) -> list[int]:
    """Return an argument that holds dimensions, counted from the front."""
    rank = _rank(node)
    value = arguments(node)[name]
    # No dimension means all of them, for roll and mean alike.
    return [dim % rank for dim in (range(rank) if value in (None, []) else int_list(value))]


def _reshape(node: fx.Node, axis: int) -> int | None:
    before, after = shape_of(node_arg(node, 0)), shape_of(node)
    tail = math.prod(before[axis + 1 :])
    for candidate, size in enumerate(after):
        if same_size(size, before[axis]) and same_size(math.prod(after[candidate + 1 :]), tail):
            return candidate
    return None


def _permute(node: fx.Node, axis: int) -> int | None:
    return _dims(node, "dims").index(axis)


def _unsqueeze(node: fx.Node, axis: int) -> int | None:
    dim: int = arguments(node)["dim"] % (_rank(node) + 1)
    return axis + (dim <= axis)


def _select(node: fx.Node, axis: int) -> int | None:
    dim = _dims(node, "dim")[0]
    return None if dim == axis else axis - (dim < axis)


def _expand(node: fx.Node, axis: int) -> int | None:
    source, result = shape_of(node_arg(node, 0)), shape_of(node)
    after = axis + len(result) - len(source)
    return after if same_size(source[axis], result[after]) else None


def _along(argument: str) -> Callable[[fx.Node, int], int | None]:
    """Return the mover of an operator that works along the axes in ``argument`` and keeps the rank."""
    return lambda node, axis: None if axis in _dims(node, argument) else axis


def _pad(node: fx.Node, axis: int) -> int | None:
    # Widths come in pairs from the last axis backwards.
    start = 2 * (_rank(node) - 1 - axis)
    return None if any(arguments(node)["pad"][start : start + 2]) else axis


def _mean(node: fx.Node, axis: int) -> int | None:
    dims = _dims(node, "dim")
    if axis in dims:
        return None
    return axis if arguments(node)["keepdim"] else axis - sum(dim < axis for dim in dims)


def _adaptive_pool(node: fx.Node, axis: int) -> int | None:
    pooled = len(arguments(node)["output_size"])
    return axis if axis < _rank(node) - pooled else None


def _keep(node: fx.Node, axis: int) -> int | None:
    return axis


_MOVES: dict[Any, Callable[[fx.Node, int], int | None]] = {
    aten.adaptive_avg_pool1d.default: _adaptive_pool,
    aten.adaptive_avg_pool2d.default: _adaptive_pool,
    aten.clone.default: _keep,
    aten.expand.default: _expand,
    aten.flip.default: _along("dims"),
    aten.index_select.default: _along("dim"),
    aten.mean.dim: _mean,
    aten.pad.default: _pad,
    aten.permute.default: _permute,
    aten.reshape.default: _reshape,
    aten.roll.default: _along("dims"),
    aten.select.int: _select,
    aten.slice.Tensor: _along("dim"),
    aten.squeeze.default: _reshape,
    aten.squeeze.dim: _reshape,
    aten.squeeze.dims: _reshape,
    aten.unsqueeze.default: _unsqueeze,
}
